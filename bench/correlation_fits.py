"""What fits of correlations make of exchange constants: the table of docs/exchange.md.

    python bench/correlation_fits.py measured.npy --mask detector_mask.mat

The likelihood is fitted to the measurement; measurements are drawn from what it found, so that their truth is known; and
measurement and draws are fitted by the correlation of log(1 + counts), with three ideas of what lies under the signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from insdl.dataset.configuration import load_configuration
from insdl.dataset.randomness import generator
from insdl.instrument.counting import counted
from insdl.instrument.measurement import read_pcsmo
from insdl.instrument.pcsmo import CLIP, NOISE_SIGMA
from insdl.learn.hypothesis import Hypothesis, hypotheses
from insdl.learn.measurement_fit import MeasurementFit, fit_measurement
from insdl.learn.templates import correlation

_Reals = npt.NDArray[np.float64]
BACKGROUNDS = ("none", "a plane for each incident energy", "that of the likelihood")


def planes(fitted: MeasurementFit) -> list[tuple[npt.NDArray[np.bool_], _Reals]]:
    """For each incident energy its used pixels among all of these, and (3, n) shapes: an offset and two slopes."""
    bins, h, k = np.nonzero(fitted.used)
    axis = np.linspace(-1.0, 1.0, fitted.used.shape[1])
    ends = np.cumsum([0, *(len(np.asarray(block.bins)) for block in fitted.frame.blocks)])
    found = []
    for low, high in pairwise(ends):
        here = (bins >= low) & (bins < high)
        found.append((here, np.stack([np.ones(here.sum()), axis[h[here]], axis[k[here]]])))
    return found


def correlated(
    hypothesis: Hypothesis,
    fitted: MeasurementFit,
    counts: _Reals,
    *,
    background: str,
    evaluations: int,
    threads: int | None,
) -> tuple[float, dict[str, float]]:
    """The best correlation of log(1 + counts) over all unknowns, from the likelihood's optimum, and the parameters there."""
    start, used = fitted.comparison.fits[hypothesis.name], fitted.used
    seen, shapes = counts[used], planes(fitted)
    target = np.log1p(seen)

    def expected(point: _Reals) -> _Reals | None:
        images, stable = hypothesis.images(point[None], fitted.measured, threads=threads)
        if not stable[0]:
            return None
        signal = images[0][used]
        if background == "a plane for each incident energy":
            mean = np.empty_like(signal)
            for here, plane in shapes:
                design = np.stack([signal[here], *plane])
                mean[here] = np.linalg.lstsq(design.T, seen[here], rcond=None)[0] @ design
            return mean
        scale = hypothesis.unknowns.values(point)[-2]
        return np.asarray(scale * signal + (start.background[used] if background == "that of the likelihood" else 0.0))

    def whole(free: _Reals) -> _Reals:
        return np.append(np.clip(free, 0.001, 0.999), start.point[-1])  # the noise is no matter of a correlation

    def loss(free: _Reals) -> float:
        mean = expected(whole(free))
        return 100.0 if mean is None else -100.0 * correlation(target, np.log1p(np.maximum(mean, 0.0)))

    n = len(start.point) - 1
    options = {"maxfev": evaluations, "initial_tr_radius": 0.06, "final_tr_radius": 1e-4}
    best = minimize(loss, start.point[:-1], method="COBYQA", bounds=[(0.001, 0.999)] * n, options=options)
    values = hypothesis.unknowns.model_values(whole(best.x))
    return -best.fun / 100.0, dict(zip(hypothesis.unknowns.parameters, np.ravel(values).tolist(), strict=True))


@click.command()
@click.argument("image", type=click.Path(exists=True, path_type=Path))
@click.option("--mask", type=click.Path(exists=True, path_type=Path))
@click.option("--draws", default=5, show_default=True, help="Measurements drawn from the likelihood's fit.")
@click.option("--evaluations", default=260, show_default=True, help="Images simulated for a fit, at most.")
@click.option("--threads", type=int)
def main(image: Path, mask: Path | None, draws: int, evaluations: int, threads: int | None) -> None:
    """Fits of correlations to the measurement, and to measurements of known exchange constants."""
    given = read_pcsmo(image, mask=mask)
    (hypothesis,) = hypotheses(load_configuration("pcsmo"), names=["goodenough"])
    fitted = fit_measurement([hypothesis], given.image, given.measured, threads=threads)
    truth = fitted.comparison.fits["goodenough"]
    click.echo(f"likelihood: {_line(truth.parameters)}")
    sigma = truth.values["noise"] * NOISE_SIGMA.ravel()[:, None, None]
    drawn = [
        counted(truth.mean.astype(np.float32), sigma, generator(0, "correlation fits", index), clip=CLIP).astype(float)
        for index in range(draws)
    ]
    for background in BACKGROUNDS:
        of_measurement, *of_draws = (
            correlated(hypothesis, fitted, counts, background=background, evaluations=evaluations, threads=threads)
            for counts in (fitted.counts, *drawn)
        )
        click.echo(f"background: {background}\n  measurement: r {of_measurement[0]:.4f}, {_line(of_measurement[1])}")
        names = list(truth.parameters)
        values = np.array([[found[name] for name in names] for _, found in of_draws])
        middle, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
        told = ", ".join(f"{n} {m:.2f} +- {s:.2f}" for n, m, s in zip(names, middle, spread, strict=True))
        click.echo(f"  {draws} draws: r {np.mean([r for r, _ in of_draws]):.4f}, {told}")


def _line(parameters: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in parameters.items())


if __name__ == "__main__":
    main()
