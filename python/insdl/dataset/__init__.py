"""Labelled simulated images: a function of (configuration, seed, index) alone."""

from __future__ import annotations

from insdl.dataset.prior import Prior, Range
from insdl.dataset.randomness import generator
from insdl.dataset.simulated import SimulatedSet, simulate_set

__all__ = ["Prior", "Range", "SimulatedSet", "generator", "simulate_set"]
