"""What realism does: the jury's network, trained on less realistic simulations, asked about the measurement.

    python bench/published_physics.py OUTPUT.pt --measured measured.npy
    python bench/published_physics.py OUTPUT.pt --measured measured.npy --physics published --detection clean

With published physics everything but the simulated intensity is that of `insdl train rivals`: the priors of the exchange
constants, the counting, the nuisances of detection, foreign images, partial views. The intensity is that of
`insdl.instrument.published`: Ql = 0 in the layers' phase, a wrong second twin, no form factor, widths as in the table. With
clean detection images are shown whole, without nuisances and without noise. One network is trained and asked about three
things: held-out simulations of its own kind, realistic simulations, and the measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from jury_numbers import simulated_lines

from insdl.dataset.configuration import Configuration, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.detection import Detector
from insdl.dataset.foreign import SourceWithForeign
from insdl.dataset.nuisance_prior import Nuisances
from insdl.dataset.view import ViewPrior
from insdl.instrument.image import ImageSettings
from insdl.instrument.measurement import read_pcsmo
from insdl.instrument.published import SCALE, PublishedSimulator
from insdl.learn.jury import hear, load_jury, member_probabilities
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


class _NoNoise(Detector):
    """Shows the mean itself, where a detector looks."""

    def count(self, expected: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """``expected``, zero where nothing is measured."""
        return np.where(self.measured, expected, np.float32(0.0))


class _Clean:
    """Mixed in: the detection of a configuration without nuisances and without noise; scale and coverage are left."""

    configuration: Configuration

    @cached_property
    def detector(self) -> Detector:
        """As `ConfiguredSource.detector`."""
        detection = self.configuration.detection.model_copy(update={"nuisances": Nuisances()})
        return _NoNoise(self.configuration.model_copy(update={"detection": detection}))


class CleanPublishedRivals(_Clean, PublishedRivals):
    """Published physics, clean."""


class CleanRivals(_Clean, ConfiguredSource):
    """insdl's physics, clean."""


_SOURCES: dict[tuple[str, str], type[ConfiguredSource]] = {
    ("published", "realistic"): PublishedRivals,
    ("published", "clean"): CleanPublishedRivals,
    ("insdl", "realistic"): ConfiguredSource,
    ("insdl", "clean"): CleanRivals,
}


@click.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--measured", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--physics", type=click.Choice(["published", "insdl"]), default="published", show_default=True)
@click.option("--detection", type=click.Choice(["realistic", "clean"]), default="realistic", show_default=True)
@click.option("--images", default=12_000, show_default=True)
@click.option("--epochs", default=RivalSettings().training.epochs, show_default=True)
@click.option("--threads", type=int)
def main(
    output: Path, measured: Path, physics: str, detection: str, images: int, epochs: int, threads: int | None
) -> None:
    """Trains one network unless OUTPUT is there, and prints what it says."""
    configuration, own = load_configuration("pcsmo"), _SOURCES[physics, detection]
    whole = ViewPrior(0.0, 0.0, 0.0, 0.0, 0.0, more_noise=0.0)
    if not output.exists():
        settings = replace(RivalSettings(), members=1, images=images, held_out=1200, threads=threads)
        settings = replace(settings, training=replace(settings.training, epochs=epochs))
        if detection == "clean":
            settings = replace(settings, views=whole, noisy=whole)
        train_jury(configuration, output, settings, physics=own)
    jury = load_jury(output)
    for what, kind in ((f"{physics} physics, {detection}", own), ("all realistic", ConfiguredSource)):
        test = SourceWithForeign(kind(configuration.model_copy(update={"stream": "test", "n_samples": 750})))
        simulated_lines(jury, what, measurements(test, None, threads))
    given = read_pcsmo(measured)
    for what, image, seen in (
        ("measured", given.image, given.measured),
        ("100 and 140 meV alone", given.image, given.measured & (np.arange(60) >= 40)[:, None, None]),
    ):
        counts = image[None].astype(np.float32)
        verdict = hear(jury, counts, seen)[0]
        probability = ", ".join(f"{name} {value:.4f}" for name, value in verdict.probability.items())
        first, second = member_probabilities(jury, counts, seen[None])[0, 0, :2]
        click.echo(
            f"{what}: {verdict.answer} ({probability}; p = {verdict.p_value:.3g}); between Goodenough and dimer, as the "
            f"network has it, {first / (first + second):.5f}"
        )


if __name__ == "__main__":
    main()
