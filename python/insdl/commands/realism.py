"""What realism does: the measured PCSMO image rebuilt ingredient by ingredient."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt

from insdl.commands.guard import guarded
from insdl.commands.progress import Stopwatch
from insdl.instrument.comparison import Comparison, compared, noise_ceiling
from insdl.instrument.counting import expected_counts
from insdl.instrument.ingredients import INGREDIENTS, WHAT, Ingredient, recipe
from insdl.instrument.measurement import Measurement, read_pcsmo
from insdl.instrument.pcsmo import CLIP, NOISE_SIGMA, SCALE, pcsmo_frame
from insdl.materials.pcsmo import LITERATURE, dimer, goodenough
from insdl.provenance import versions, write_json

Name = Literal["goodenough", "dimer"]
MODELS: dict[Name, Any] = {"goodenough": goodenough, "dimer": dimer}
ENERGY_RANGES = ((0.0, 10.0), (10.0, 20.0), (20.0, 30.0), (30.0, 40.0), (40.0, 60.0), (60.0, 100.0))
"""meV. A cell belongs to the range that holds its slice's centre."""
_Image = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    ingredient : what is added; None for the line before the first.
    correlation : by model, with this ingredient and all before it.
    without : by model, with all ingredients but this one; None for the line before the first.
    """

    ingredient: Ingredient | None
    correlation: dict[Name, float]
    without: dict[Name, float] | None


def simulated(
    name: Name, ingredients: Collection[Ingredient], measurement: Measurement, *, threads: int | None = None
) -> tuple[_Image, Comparison]:
    """Expected counts of a model at its literature parameters, (60, 40, 40), and what the comparison makes of them."""
    counts = SCALE * recipe(ingredients).image(MODELS[name](), threads=threads, **LITERATURE[name])
    comparison = compared(
        counts,
        np.log1p(measurement.image),
        measurement.measured,
        pcsmo_frame(),
        background="fitted" if "background and scale" in ingredients else "none",
        noise="expected" if "counting noise" in ingredients else "none",
    )
    return counts, comparison


def correlation(logs: _Image, measurement: Measurement, cells: npt.NDArray[np.bool_] | None = None) -> float | None:
    """Pearson correlation of log(1 + counts) over the measured pixels (of some cells); None where none was measured."""
    used = measurement.measured if cells is None else measurement.measured & cells[:, None, None]
    seen = np.log1p(measurement.image[used])
    if not used.any() or not seen.std() > 0 or not logs[used].std() > 0:
        return None
    return float(np.corrcoef(logs[used], seen)[0, 1])


def run(
    measurement: Measurement,
    *,
    ingredients: Sequence[Ingredient] | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """The ablation of the measured image, as plain numbers.

    Parameters
    ----------
    measurement : Measurement in the PCSMO frame.
    ingredients : what to add, in this order; None for `INGREDIENTS`.
    progress : whether to say on the error stream what goes on.

    Returns
    -------
    dict
        ``rows`` (of `Row`), ``margins`` by energy range, ``ceiling``, ``low_energy`` (slice means at the lowest incident energy
        in units of the fourth), ``fit`` (scales and backgrounds of the whole model), and what it was made from.

    Raises
    ------
    ValueError
        If the measurement holds no counts.
    """
    if not measurement.image[measurement.measured].any():
        raise ValueError(f"the measurement holds no counts: {measurement.source}")
    watch = Stopwatch(progress)
    frame = pcsmo_frame()
    order = INGREDIENTS if ingredients is None else tuple(ingredients)
    rows = []
    with watch("adding ingredients"):
        for n in range(len(order) + 1):
            rows.append((order[n - 1] if n else None, _correlations(order[:n], measurement, threads)))
    with watch("leaving each one out"):
        left = {one: _correlations(_but(order, one), measurement, threads) for one in order}
    with watch("margins"):
        whole = {name: simulated(name, order, measurement, threads=threads) for name in MODELS}
        one_scale, at_zero_l = _but(order, "background and scale"), _but(order, "kinematic Ql")
        plain = {name: simulated(name, one_scale, measurement, threads=threads) for name in MODELS}
        flat, _ = simulated("goodenough", at_zero_l, measurement, threads=threads)
    centres = frame.bins.mean(axis=1)
    margins = []
    for low, high in ENERGY_RANGES:
        cells = (centres >= low) & (centres < high)
        margins.append(
            {
                "energy": [low, high],
                "fitted background": _margin(whole, measurement, cells),
                "one scale, no background": _margin(plain, measurement, cells),
            }
        )
    fit = {name: comparison for name, (_, comparison) in whole.items()}
    return {
        "measurement": {
            "source": measurement.source,
            "sha256": measurement.sha256,
            "pixels": int(measurement.measured.sum()),
        },
        "rows": [asdict(Row(name, found, left[name] if name else None)) for name, found in rows],
        "ceiling": noise_ceiling(np.log1p(measurement.image), measurement.measured),
        "margins": margins,
        "low_energy": _low_energy(whole["goodenough"][0], flat, measurement),
        "fit": {
            name: {"scale": one.scale.tolist(), "background": one.background.tolist()} for name, one in fit.items()
        },
        "scale": SCALE,
        "parameters": {name: dict(LITERATURE[name]) for name in MODELS},
        "timings_seconds": watch.seconds,
        "versions": versions(),
    }


def _but(ingredients: Sequence[Ingredient], one: Ingredient) -> list[Ingredient]:
    return [name for name in ingredients if name != one]


def _correlations(
    ingredients: Collection[Ingredient], measurement: Measurement, threads: int | None
) -> dict[Name, float]:
    return {
        name: correlation(simulated(name, ingredients, measurement, threads=threads)[1].logs, measurement) or 0.0
        for name in MODELS
    }


def _margin(
    images: dict[Name, tuple[_Image, Comparison]], measurement: Measurement, cells: npt.NDArray[np.bool_]
) -> dict[str, float] | None:
    found = {name: correlation(comparison.logs, measurement, cells) for name, (_, comparison) in images.items()}
    first, second = found["goodenough"], found["dimer"]
    if first is None or second is None:
        return None
    return {"goodenough": first, "dimer": second, "margin": first - second}


def _low_energy(counts: _Image, at_zero_l: _Image, measurement: Measurement) -> dict[str, list[float] | None]:
    """Mean counts of the first three slices of the lowest incident energy, in units of the fourth, over measured pixels."""

    def ratios(image: _Image) -> list[float] | None:
        means = [float(image[n][measurement.measured[n]].sum()) for n in range(4)]
        sizes = [max(1, int(measurement.measured[n].sum())) for n in range(4)]
        slices = [total / size for total, size in zip(means, sizes, strict=True)]
        return [one / slices[3] for one in slices[:3]] if slices[3] > 0 else None

    sigma = NOISE_SIGMA.reshape(-1, 1, 1)
    return {
        "measured": ratios(measurement.image),
        "simulated, as counted": ratios(expected_counts(counts, sigma, clip=CLIP)),
        "simulated": ratios(counts),
        "simulated at Ql = 0": ratios(at_zero_l),
    }


def table(result: dict[str, Any]) -> str:
    """The result in words and columns, for a terminal."""
    lines = [
        f"Measurement: {result['measurement']['source']}; {result['measurement']['pixels']} pixels.",
        "Correlation of log(1 + counts): with each ingredient and those above it, and with all others but it.",
        "",
        f"{'':24}{'Goodenough':>12}{'dimer':>9}{'   left out:':14}{'Goodenough':>12}{'dimer':>9}",
    ]
    whole = result["rows"][-1]["correlation"]
    for row in result["rows"]:
        found, without = row["correlation"], row["without"]
        line = f"{row['ingredient'] or 'none of these':24}{found['goodenough']:12.4f}{found['dimer']:9.4f}"
        if without is not None:
            line += (
                f"{'':14}{without['goodenough'] - whole['goodenough']:+12.4f}{without['dimer'] - whole['dimer']:+9.4f}"
            )
        lines.append(line)
    lines += ["", *(f"  {row['ingredient']}: {WHAT[row['ingredient']]}" for row in result["rows"][1:])]
    lines += ["", f"Noise ceiling, from the measurement's own mirror images: {result['ceiling']:.4f}", ""]
    lines.append(
        "Goodenough - dimer by energy transfer, whole model and (in brackets) with one scale and no background:"
    )
    for one in result["margins"]:
        fitted, plain = one["fitted background"], one["one scale, no background"]
        if fitted is not None and plain is not None:
            low, high = one["energy"]
            lines.append(
                f"  {low:3.0f} to {high:3.0f} meV: {fitted['margin']:+.3f} ({plain['margin']:+.3f}), "
                f"Goodenough {fitted['goodenough']:.3f}"
            )
    lines += ["", "Slices 1 to 3 at the lowest incident energy, mean counts in units of slice 4:"]
    for name, ratios in result["low_energy"].items():
        lines.append(f"  {name}: {'none' if ratios is None else ', '.join(f'{one:.3f}' for one in ratios)}")
    return "\n".join(lines)


@click.command()
@click.option("--measured", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="Measured PCSMO image, 240 x 400 (.npy).")  # fmt: skip
@click.option("--mask", type=click.Path(dir_okay=False, path_type=Path), help="Detector mask; default: detector_mask.mat "
              "beside the image, else the zeros of the image.")  # fmt: skip
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write all numbers here."
)
@click.option("--threads", type=click.IntRange(1), help="Threads; all processors by default.")
@click.option("--quiet", is_flag=True, help="No progress on the error stream.")
def realism(measured: Path, mask: Path | None, json_file: Path | None, threads: int | None, quiet: bool) -> None:
    """What each ingredient of a simulated PCSMO image is worth against the measured one."""

    def job() -> dict[str, Any]:
        if json_file is not None and not json_file.absolute().parent.is_dir():
            raise ValueError(f"there is no folder {json_file.absolute().parent} for {json_file.name}")
        result = run(read_pcsmo(measured, mask=mask), threads=threads, progress=not quiet)
        if json_file is not None:
            write_json(json_file, result)
        return result

    click.echo(table(guarded(job)))
