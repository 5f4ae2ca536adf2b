"""What realism does: the jury's network, trained on the physics of the published simulations, asked about the measurement.

    python bench/published_physics.py OUTPUT.pt --measured measured.npy

Everything but the simulated intensity is that of `insdl train rivals`: the priors of the exchange constants, the counting,
the nuisances of detection, foreign images, partial views. The intensity is that of `insdl.instrument.published`: Ql = 0 in
the layers' phase, a wrong second twin, no form factor, widths as in the table. One network is trained and asked about three
things: held-out simulations of its own kind, realistic simulations, and the measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from jury_numbers import simulated_lines

from insdl.dataset.configuration import Configuration, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.foreign import SourceWithForeign
from insdl.instrument.image import ImageSettings
from insdl.instrument.measurement import read_pcsmo
from insdl.instrument.published import SCALE, PublishedSimulator
from insdl.learn.jury import hear, load_jury
from insdl.learn.rivals import RivalSettings, measurements, train_jury


class PublishedRivals(ConfiguredSource):
    """The draws of a configuration, simulated as the published images were."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        frame = configuration.frame.image_frame()
        self._simulators: list[Any] = [
            _Simulator(PublishedSimulator(rival.spin_model(), frame, margin=configuration.frame.margin))
            for rival in configuration.classes
        ]


class _Simulator:
    """A `PublishedSimulator` with the widths of the table, in the units of `ImageSimulator`."""

    mirrors = "axes"

    def __init__(self, published: PublishedSimulator) -> None:
        self.published, self.model = published, published.model

    def simulate_sets(
        self, sets: npt.ArrayLike, settings: Sequence[ImageSettings], *, threads: int | None = None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        plain = [ImageSettings(shift_h=one.shift_h, shift_k=one.shift_k) for one in settings]
        images, stable = self.published.simulate_sets(sets, plain, threads=threads)
        return images / (2 * SCALE), stable


@click.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--measured", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--images", default=12_000, show_default=True)
@click.option("--threads", type=int)
def main(output: Path, measured: Path, images: int, threads: int | None) -> None:
    """Trains one network unless OUTPUT is there, and prints what it says."""
    configuration = load_configuration("pcsmo")
    if not output.exists():
        settings = replace(RivalSettings(), members=1, images=images, held_out=1200, threads=threads)
        train_jury(configuration, output, settings, physics=PublishedRivals)
    jury = load_jury(output)
    kinds: dict[str, type[ConfiguredSource]] = {"published physics": PublishedRivals, "realistic": ConfiguredSource}
    for what, physics in kinds.items():
        source = SourceWithForeign(physics(configuration.model_copy(update={"stream": "test", "n_samples": 750})))
        simulated_lines(jury, what, measurements(source, None, threads))
    given = read_pcsmo(measured)
    for what, image, seen in (
        ("measured", given.image, given.measured),
        ("100 and 140 meV alone", given.image, given.measured & (np.arange(60) >= 40)[:, None, None]),
    ):
        verdict = hear(jury, image[None].astype(np.float32), seen)[0]
        probability = ", ".join(f"{name} {value:.4f}" for name, value in verdict.probability.items())
        click.echo(f"{what}: {verdict.answer} ({probability}; p = {verdict.p_value:.3g})")


if __name__ == "__main__":
    main()
