"""What is in a measurement and not magnetic: phonons, the elastic line, aluminium, backgrounds, streaks, faulty pixels."""

from __future__ import annotations

from insdl.instrument.nuisance.aluminium import Aluminium, aluminium_image
from insdl.instrument.nuisance.beam_halo import BeamHalo, add_halo, beam_halo
from insdl.instrument.nuisance.elastic import ElasticLine, ElasticProfile, elastic_image
from insdl.instrument.nuisance.faulty_pixels import add_hot_pixels, kill_pixels
from insdl.instrument.nuisance.force_constants import force_constants_image
from insdl.instrument.nuisance.geometry import PixelGeometry, pixel_geometry
from insdl.instrument.nuisance.phonons import Phonons, phonon_image
from insdl.instrument.nuisance.pixel_terms import (
    flat_coefficients,
    pixel_terms,
    plane_coefficients,
    smooth_coefficients,
)
from insdl.instrument.nuisance.smooth import block_energies, smooth_background, smooth_shapes
from insdl.instrument.nuisance.streaks import Streak, add_streak, random_streak
from insdl.instrument.nuisance.subtraction import over_subtracted, planes

__all__ = [
    "Aluminium",
    "BeamHalo",
    "ElasticLine",
    "ElasticProfile",
    "Phonons",
    "PixelGeometry",
    "Streak",
    "add_halo",
    "add_hot_pixels",
    "add_streak",
    "aluminium_image",
    "beam_halo",
    "block_energies",
    "elastic_image",
    "flat_coefficients",
    "force_constants_image",
    "kill_pixels",
    "over_subtracted",
    "phonon_image",
    "pixel_geometry",
    "pixel_terms",
    "plane_coefficients",
    "planes",
    "random_streak",
    "smooth_background",
    "smooth_coefficients",
    "smooth_shapes",
]
