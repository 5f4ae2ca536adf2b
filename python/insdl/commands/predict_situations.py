"""What would change a verdict: the same measurement in part, turned, or with more noise, and the jury's answer to each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from insdl.learn.jury import Jury

_NOISE = (2.0, 4.0, 8.0)
"""Standard deviations of added noise in units of the measurement's own: 1 / 5, 1 / 17 and 1 / 65 of the counting time."""
_Counts = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]


def situations(counts: _Counts, seen: _Mask, *, seed: int = 0) -> Iterator[tuple[str, _Counts, _Mask]]:
    """Name, counts and what is seen of each of the situations that a report shows.

    Parameters
    ----------
    counts : (60, n_h, n_k), counts of PCSMO as measured on MAPS. seen : bool, the same shape.
    seed : of the noise.
    """
    from insdl.dataset.randomness import generator
    from insdl.dataset.view import halves, with_more_noise
    from insdl.instrument.pcsmo import INCIDENT_ENERGIES, NOISE_SIGMA, SLICES

    blocks = np.repeat(np.array(INCIDENT_ENERGIES), SLICES)
    yield "as measured", counts, seen
    yield "mirrored along Qk", counts[..., ::-1], seen[..., ::-1]
    for name, half in zip(("half of the pixels", "the other half"), halves(seen), strict=True):
        yield name, counts, half
    for energy in INCIDENT_ENERGIES:
        rest = seen & (blocks != energy)[:, None, None]
        if rest.any():
            yield f"without Ei = {energy:g} meV", counts, rest
    for energy in INCIDENT_ENERGIES:
        alone = seen & (blocks == energy)[:, None, None]
        if alone.any():
            yield f"Ei = {energy:g} meV alone", counts, alone
    for number, factor in enumerate(_NOISE):
        rng = generator(seed, "report noise", number)
        noisy = with_more_noise(counts, NOISE_SIGMA.ravel(), factor, rng).astype(np.float64)
        yield f"noise of {factor:g} sigma added", np.where(seen, noisy, 0.0), seen


def situation_entries(jury: Jury, counts: _Counts, seen: _Mask, *, required: float) -> list[dict[str, Any]]:
    """The jury's verdict in each situation, as plain values."""
    from insdl.learn.jury import hear

    found = list(situations(counts, seen))
    heard = hear(jury, np.stack([c for _, c, _ in found]), np.stack([s for _, _, s in found]), required=required)
    return [
        {
            "situation": name,
            "verdict": verdict.answer,
            "probability": {key: float(value) for key, value in verdict.probability.items()},
        }
        for (name, _, _), verdict in zip(found, heard, strict=True)
    ]
