"""The hypotheses about PCSMO: the classes of the preset, and Zener polarons beside them."""

from __future__ import annotations

from typing import Any, Literal

from insdl.dataset.configuration import Configuration, configuration, load_configuration
from insdl.learn.hypothesis import Hypothesis, hypotheses

ZENER_POLARON: dict[str, Any] = {
    "name": "zener_polaron",
    "model": "zener_polaron",
    "own": {"strength": {"kind": "uniform", "low": 0.3, "high": 2.5}},
    "derived": {"JFU": {"strength": -2.4}, "JFD": {"strength": -0.165}, "JA": {"strength": 0.1646}},
}
"""A class for a configuration. The structure is an equilibrium only where JA = -JFD cos 2e and tan 2e = JFD / JFU
(`insdl.materials.zener_polaron`), so that one factor on the published exchanges is free, and Jperp."""


def with_zener_polaron(given: Configuration) -> Configuration:
    """A PCSMO configuration with the Zener polarons as its last class."""
    content = given.model_dump()
    return configuration({**content, "classes": [*content["classes"], ZENER_POLARON]}, what=given.name)


def pcsmo_hypotheses(
    given: Configuration | None = None,
    *,
    zener_polaron: Literal["included", "left out"] = "left out",
    detector: Any = None,
    n_templates: int = 400,
) -> tuple[Hypothesis, ...]:
    """Goodenough, dimer and, if wanted, Zener polaron, ready for `insdl.learn.evidence.compare_hypotheses`.

    Parameters
    ----------
    given : Configuration with the preset's classes; None for the preset "pcsmo" itself.
    detector, n_templates : as in `insdl.learn.hypothesis.hypotheses`.
    """
    if zener_polaron not in ("included", "left out"):
        raise ValueError(f"zener_polaron must be 'included' or 'left out', got {zener_polaron!r}")
    preset = load_configuration("pcsmo") if given is None else given
    chosen = with_zener_polaron(preset) if zener_polaron == "included" else preset
    return hypotheses(chosen, detector=detector, n_templates=n_templates)
