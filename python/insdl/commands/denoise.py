"""insdl denoise: a measured PCSMO image without its counting noise, how sure that is, and whether to believe it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from insdl.commands.guard import guarded

if TYPE_CHECKING:
    from insdl.instrument.measurement import Measurement
    from insdl.learn.denoise import DenoiserTraining
    from insdl.learn.denoising_networks import Denoiser, DenoiserConfig

_FILE = click.Path(dir_okay=False, path_type=Path)
_HIDDEN = 0.05  # of the measured pixels, for the test that asks for what was not shown
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("measurement", type=_FILE)
@click.option("--mask", type=_FILE, help="Detector mask, 240 x 400 (.mat or .npy). Default: detector_mask.mat beside the "
              "image, else the zeros of the image.")  # fmt: skip
@click.option("--orientation", type=click.Choice(["measured", "published"]), default="measured", show_default=True,
              help="Which way Qk runs in the file: as in the published measurement or simulations.")  # fmt: skip
@click.option("--noise", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Noise where there is no signal, relative to that of the published measurement.")  # fmt: skip
@click.option("--checkpoint", type=_FILE, help="Denoiser to use; trained and written there if there is none. Default: a file "
              "in the user's cache, so that only the first use trains.")  # fmt: skip
@click.option("--kind", type=click.Choice(["autoencoder", "variational"]), default="autoencoder", show_default=True,
              help="Network to train, where none is given.")  # fmt: skip
@click.option("--images", type=click.IntRange(8), default=1600, show_default=True, help="Simulated images to train on.")
@click.option("--pairs", type=click.IntRange(1), default=18_000, show_default=True, help="Noisy images to train on.")
@click.option("--width", type=click.IntRange(1), default=48, show_default=True, help="Channels of the network.")
@click.option("--components", type=click.IntRange(0), default=320, show_default=True,
              help="Principal components of simulated images that the network knows.")  # fmt: skip
@click.option("--output", type=_FOLDER, default=Path("insdl-denoise"), show_default=True, help="Folder for the result.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random.")
@click.option("--threads", type=click.IntRange(1), help="Threads; all processors by default.")
@click.option("--quiet", is_flag=True, help="No progress on the error stream.")
def denoise(
    measurement: Path,
    mask: Path | None,
    orientation: str,
    noise: float,
    checkpoint: Path | None,
    kind: str,
    images: int,
    pairs: int,
    width: int,
    components: int,
    output: Path,
    seed: int,
    threads: int | None,
    quiet: bool,
) -> None:
    """A PCSMO image without counting noise, its uncertainty, and tests of what was taken away.

    Writes denoised.npy and uncertainty.npy (counts, laid out as the image; the uncertainty is NaN where nothing was measured),
    pictures, and result.json. Background stays: the denoiser estimates what longer counting would show.
    """
    layout: Literal["measured", "published"] = "measured" if orientation == "measured" else "published"

    def job() -> dict[str, Any]:
        from insdl.commands.progress import torch_threads
        from insdl.instrument.measurement import read_pcsmo
        from insdl.learn.denoise import DenoiserTraining
        from insdl.learn.denoising_networks import DenoiserConfig

        given = read_pcsmo(measurement, mask=mask, orientation=layout)  # before minutes of training
        config = DenoiserConfig(
            kind="autoencoder" if kind == "autoencoder" else "variational",
            width=width,
            components=components,
            seed=seed,
        )
        settings = DenoiserTraining(pairs=pairs, seed=seed, threads=torch_threads(threads))
        file = checkpoint or cached_file(config, settings, images)
        network = first_use(
            file, config, settings, images=images, threads=threads, progress="silent" if quiet else "bar"
        )
        return run(given, network, output, noise=noise, orientation=layout, checkpoint=str(file))

    result = guarded(job)
    residual = result["residual"]
    click.echo(f"Measurement: {result['measurement']['source']}.")
    click.echo(
        f"Taken away: chi-squared {residual['chi_squared']:.3f} per pixel, {100 * residual['outliers']:.2f} % outliers, "
        f"autocorrelation {', '.join(f'{value:+.3f}' for value in residual['autocorrelation'])} along Qh, Qk, energy."
    )
    hidden = result["hidden"]
    click.echo(
        f"Correlation with the counts of {hidden['pixels']} pixels that it was not shown, nor their mirror images: "
        f"{hidden['denoised']:.3f}; of the mean of measured neighbours {hidden['neighbours']:.3f}."
    )
    click.echo(
        f"Correlation with the image's own mirror images{'' if result['network']['components'] else ', which were not used'}: "
        f"{result['mirrors']['denoised']:.3f}; of the noisy image {result['mirrors']['noisy']:.3f}."
    )
    click.echo(f"Result: {output / 'denoised.npy'}")


def run(
    measurement: Measurement,
    network: Denoiser,
    folder: Path,
    *,
    noise: float = 1.0,
    orientation: Literal["measured", "published"] = "measured",
    checkpoint: str = "",
) -> dict[str, Any]:
    """Denoises a measurement in the PCSMO frame and writes the result into ``folder``; returns the content of result.json."""
    import numpy as np

    from insdl.instrument.pcsmo import NOISE_SIGMA, pcsmo_frame, to_sheet
    from insdl.learn.classical_denoise import gaussian_filter
    from insdl.learn.denoise import denoise
    from insdl.learn.denoise_trust import hidden_pixels, mirror_images, residual_test
    from insdl.learn.stabilisation import counts_of, stabilised
    from insdl.learn.templates import correlation
    from insdl.plot import cell_sheet
    from insdl.provenance import complete_folder, versions, write_json

    sigma, counts, measured = noise * NOISE_SIGMA.ravel(), measurement.image, measurement.measured
    found = denoise(network, counts, measured, sigma=sigma)
    mirrors, seen = mirror_images(counts, measured)
    used = measured & seen
    logs = {
        name: np.log1p(np.maximum(image[used], 0.0)) for name, image in (("noisy", counts), ("denoised", found.image))
    }
    reflected = np.log1p(mirrors[used])
    hidden = hidden_pixels(measured, share=_HIDDEN, seed=0)
    guessed = denoise(network, counts, measured & ~hidden, sigma=sigma).filled
    noise_scale = sigma[:, None, None]
    around = counts_of(gaussian_filter(stabilised(counts, noise_scale), measured & ~hidden, sigma=1.0), noise_scale)
    shown = np.log1p(np.maximum(counts[hidden], 0.0))
    result = {
        "job": "denoise",
        "measurement": {"source": measurement.source, "sha256": measurement.sha256},
        "network": asdict(network.config),
        "checkpoint": checkpoint,
        "noise": noise,
        "residual": asdict(residual_test(counts, found.image, measured, sigma=sigma)),
        "mirrors": {name: correlation(values, reflected) for name, values in logs.items()},
        "hidden": {
            "pixels": int(hidden.sum()),
            "denoised": correlation(np.log1p(np.maximum(guessed[hidden], 0.0)), shown),
            "neighbours": correlation(np.log1p(np.maximum(around[hidden], 0.0)), shown),
        },
        "versions": versions(),
        "caveats": [
            "The image is the expected one, background included; what of it is magnetic was not asked.",
            "The noise of every cell was taken as that found for the published measurement, times the given factor.",
        ],
    }
    frame = pcsmo_frame()
    pictures = {
        "measured.png": (np.log1p(counts), "measured", "log(1 + counts)"),
        "denoised.png": (np.log1p(np.maximum(found.image, 0.0)), "denoised", "log(1 + counts)"),
        "uncertainty.png": (np.nan_to_num(found.uncertainty), "uncertainty, one standard deviation", "counts"),
    }
    with complete_folder(folder) as work:
        np.save(work / "denoised.npy", to_sheet(found.image, orientation=orientation))
        np.save(work / "uncertainty.npy", to_sheet(found.uncertainty, orientation=orientation))
        for name, (image, title, label) in pictures.items():
            cell_sheet(frame, image, measured=measured, title=title, label=label).savefig(work / name, dpi=90)
        write_json(work / "result.json", result)
    return result


def cached_file(config: DenoiserConfig, settings: DenoiserTraining, images: int) -> Path:
    """A file in the user's cache, another for all that makes another denoiser."""
    from insdl.learn.denoise import FORMAT
    from insdl.learn.denoising_samples import denoising_configuration
    from insdl.measured_data import data_folders
    from insdl.provenance import versions

    made_of: list[object] = [FORMAT, versions()["insdl"], images, asdict(config), {**asdict(settings), "threads": None}]
    made_of.append(denoising_configuration().model_dump(mode="json"))
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]
    return data_folders()[-1] / f"denoiser-{config.kind}-{digest}.pt"


def first_use(
    file: Path,
    config: DenoiserConfig,
    settings: DenoiserTraining,
    *,
    images: int,
    threads: int | None = None,
    progress: Literal["bar", "silent"] = "silent",
) -> Denoiser:
    """The denoiser of a checkpoint; trained first, and written there, if there is none."""
    from insdl.learn.denoise import load_denoiser, save_denoiser, trained_denoiser

    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        if progress == "bar":
            click.echo(f"training a denoiser, once, for {file} ...", err=True)
        network, history = trained_denoiser(
            config, n_images=images, settings=settings, simulation_threads=threads, progress=progress
        )
        save_denoiser(file, network, history=history)
    return load_denoiser(file)
