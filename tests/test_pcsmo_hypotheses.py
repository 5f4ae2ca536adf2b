"""PCSMO's rivals: the preset's two and the Zener polarons."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.learn.hypothesis import hypotheses
from insdl.learn.pcsmo_hypotheses import pcsmo_hypotheses, with_zener_polaron
from insdl.materials.pcsmo import LITERATURE
from small_hypothesis import small, small_background


def test_zener_polarons_are_stable_throughout_and_hold_the_literature() -> None:
    """Every template of the prior is stable; a strength of one is the literature, JA to the digit that is stable."""
    given = with_zener_polaron(small())
    (zener,) = hypotheses(given, names=["zener_polaron"], background=small_background(), n_templates=40)
    points, images, _ = zener.templates
    assert len(points) == 40
    assert (images.mean(axis=(1, 2, 3)) > 0).all()
    values = dict.fromkeys(zener.unknowns.names, 1.0) | {"strength": 1.0, "Jperp": 1.05}
    found = zener.unknowns.model_values(zener.unknowns.point(values))
    np.testing.assert_allclose(found, list(LITERATURE["zener_polaron"].values()), atol=5e-4)


def test_names() -> None:
    """In the order of the configuration; the same background for all."""
    found = pcsmo_hypotheses(small(), zener_polaron="included", n_templates=2)
    assert [one.name for one in found] == ["goodenough", "dimer", "zener_polaron"]
    assert found[0].background is found[2].background
    assert [one.name for one in pcsmo_hypotheses(small(), n_templates=2)] == ["goodenough", "dimer"]
    with pytest.raises(ValueError, match="'included' or 'left out', got 'yes'"):
        pcsmo_hypotheses(small(), zener_polaron="yes")  # type: ignore[arg-type]
