"""Inelastic neutron scattering, understood with deep learning.

Reading order: crystal, model, spinwave, instrument, dataset, learn, explain. A file uses what stands before it, never
what stands after it; only learn, explain and the commands need torch.
"""

from __future__ import annotations

from insdl.errors import NotEquilibriumWarning, UnstableModelError
from insdl.ground_state import relax
from insdl.instruction_set import choose_from_environment
from insdl.model import Bond, SingleIon, Site, SpinModel, Zeeman
from insdl.spinwave import Modes, SpinWavePlan, spin_waves

choose_from_environment()

__version__ = "0.1.0"

__all__ = [
    "Bond",
    "Modes",
    "NotEquilibriumWarning",
    "SingleIon",
    "Site",
    "SpinModel",
    "SpinWavePlan",
    "UnstableModelError",
    "Zeeman",
    "relax",
    "spin_waves",
]
