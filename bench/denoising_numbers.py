"""The numbers of docs/denoising.md: denoisers beside classical methods on simulated images, and on the public measurement.

    python bench/denoising_numbers.py simulated denoiser.pt [denoiser.pt ...]
    python bench/denoising_numbers.py classes denoiser.pt
    python bench/denoising_numbers.py measured denoiser.pt measured.npy --mask detector_mask.mat

Denoisers are files of `insdl denoise --checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch

from insdl.dataset.randomness import generator
from insdl.instrument.measurement import read_pcsmo
from insdl.instrument.pcsmo import NOISE_SIGMA, SCALE
from insdl.learn.classical_denoise import FILTERS, TunedFilter, principal_components, tuned
from insdl.learn.denoise import denoise, load_denoiser
from insdl.learn.denoise_trust import (
    class_test,
    comparison,
    hidden_pixels,
    mirror_images,
    mixture_test,
    pair_of,
    residual_test,
)
from insdl.learn.denoising_networks import Denoiser, denoiser_input
from insdl.learn.denoising_samples import KINDS, DenoisingSamples, Pair
from insdl.learn.jury import load_jury
from insdl.learn.stabilisation import counts_of, stabilised
from insdl.learn.templates import correlation

_PRETRAINED = Path(__file__).parents[1] / "python" / "insdl" / "pretrained" / "pcsmo.pt"
_TIMES = (4.0, 1.0, 0.25)
_FILE = click.Path(exists=True, path_type=Path)
_Singles = npt.NDArray[np.float32]


@click.group()
def main() -> None:
    """Numbers on denoisers."""


@main.command()
@click.argument("checkpoints", nargs=-1, required=True, type=_FILE)
@click.option("--images", default=80, show_default=True, help="Of models that no denoiser has seen.")
@click.option("--basis", default=1600, show_default=True, help="Models whose images make the principal components.")
@click.option("--threads", type=int)
def simulated(checkpoints: Sequence[Path], images: int, basis: int, threads: int | None) -> None:
    """Correlation with the truth, and what was taken away, at three counting times."""
    networks = {path.stem: load_denoiser(path) for path in checkpoints}
    test, known = (DenoisingSamples(n, stream=s, threads=threads) for n, s in ((images, "test"), (basis, "training")))
    tuning = DenoisingSamples(24, stream="tuning", threads=threads)
    for time in _TIMES:
        models = [pair_of(test, clean, index=i, counting_time=time) for i, clean in enumerate(test.images)]
        others = [_other(test, i, time) for i in range(max(3, 3 * images // 4))]
        learn = [pair_of(tuning, clean, index=i, counting_time=time) for i, clean in enumerate(tuning.images)]
        classical = {name: tuned(name, learn) for name in FILTERS}
        truths = (_truth(pair_of(known, clean, index=i, counting_time=time)) for i, clean in enumerate(known.images))
        components = principal_components(truths, rank=min(320, len(known.images) - 1))
        classical["principal components"] = tuned("principal components", learn, components=components)
        methods: dict[str, Callable[[Pair], Any]] = {
            "as counted": lambda pair: pair.counts,
            **{name: _classical(method) for name, method in classical.items()},
            **{name: _network(network) for name, network in networks.items()},
            **{f"{name}: its components alone": _fitted(n) for name, n in networks.items() if n.config.components},
        }
        click.echo(f"counting time {time:g}, correlation with the truth: models; mixed, exchanged and patterns")
        found = comparison(methods, models), comparison(methods, others)
        for name in methods:
            (a, da), (b, db) = (part[name] for part in found)
            click.echo(
                f"  {name}: {a:.4f} +- {da:.4f}; {b:.4f} +- {db:.4f} {getattr(classical.get(name), 'options', '')}"
            )
        for name, network in networks.items():
            _residual_lines(name, network, models)


def _residual_lines(name: str, network: Denoiser, pairs: Sequence[Pair]) -> None:
    tests, inside = [], []
    for pair in pairs:
        found = denoise(network, pair.counts, pair.measured, sigma=pair.sigma)
        tests.append(residual_test(pair.counts, found.image, pair.measured, sigma=pair.sigma))
        away = np.abs(found.image - pair.expected)[pair.measured] / found.uncertainty[pair.measured]
        inside.append([(away < 1).mean(), (away < 2).mean()])
    chi = np.array([one.chi_squared for one in tests])
    along = np.mean([one.autocorrelation for one in tests], axis=0)
    click.echo(
        f"  {name}: chi-squared median {np.median(chi):.3f}, 10 % and 90 % {np.quantile(chi, 0.1):.3f}, "
        f"{np.quantile(chi, 0.9):.3f}, in 0.9 to 1.1 {((chi > 0.9) & (chi < 1.1)).mean():.2f}; autocorrelation "
        f"{np.round(along, 3).tolist()}; within one and two uncertainties {np.round(np.mean(inside, axis=0), 3).tolist()}"
    )


@main.command()
@click.argument("checkpoint", type=_FILE)
@click.option("--images", default=60, show_default=True, help="Of each model.")
@click.option("--threads", type=int)
def classes(checkpoint: Path, images: int, threads: int | None) -> None:
    """Whether models stay what they are, judged by insdl's jury and by templates, and halves stay halves."""
    network, jury = load_denoiser(checkpoint), load_jury(_PRETRAINED)
    test = DenoisingSamples(4 * images, stream="classes", threads=threads)

    def apply(pair: Pair) -> Any:
        return denoise(network, pair.counts, pair.measured, sigma=pair.sigma)

    for time in _TIMES:
        for name in test.classes:
            click.echo(f"{time:g} {class_test(apply, test, jury, name=name, n=images, counting_time=time)}")
        for names in (("goodenough", "dimer"), ("goodenough", "zener_polaron")):
            mixed = mixture_test(apply, test, names=names, n=min(images, 20), counting_time=time)
            click.echo(
                f"{time:g} half {names}: first {np.mean(mixed.share):.3f}, spread {np.std(mixed.share):.3f} (truth "
                f"{np.mean(mixed.share_of_truth):.3f}), flipped {mixed.flipped:.2f} of {mixed.n}"
            )


@main.command()
@click.argument("checkpoint", type=_FILE)
@click.argument("image", type=_FILE)
@click.option("--mask", type=_FILE)
def measured(checkpoint: Path, image: Path, mask: Path | None) -> None:
    """The public measurement: what was taken away, mirror images and hidden pixels, against two templates."""
    from insdl.instrument import ImageSimulator
    from insdl.instrument.pcsmo import SETTINGS, pcsmo_frame
    from insdl.materials import dimer, goodenough
    from insdl.materials.pcsmo import LITERATURE

    network, given = load_denoiser(checkpoint), read_pcsmo(image, mask=mask)
    sigma, counts = NOISE_SIGMA.ravel(), given.image.astype(np.float64)
    templates = {
        name: ImageSimulator(model(), pcsmo_frame()).simulate(SETTINGS, **LITERATURE[name])
        for name, model in (("goodenough", goodenough), ("dimer", dimer))
    }
    found = denoise(network, counts, given.measured, sigma=sigma)
    click.echo(residual_test(counts, found.image, given.measured, sigma=sigma))
    mirrors, seen = mirror_images(counts, given.measured)
    _like("mean of the mirror images", mirrors, given.measured & seen, {"denoised": found.image} | templates)
    _like("denoised image", found.image, given.measured, templates)
    hidden = hidden_pixels(given.measured, share=0.05, seed=0)
    rest = denoise(network, counts, given.measured & ~hidden, sigma=sigma)
    _like(f"{hidden.sum()} hidden pixels", counts, hidden, {"denoised": rest.filled} | templates)


def _like(name: str, image: Any, where: Any, others: dict[str, Any]) -> None:
    def logs(one: Any) -> Any:
        return np.log1p(np.maximum(one[where], 0.0))

    scaled = {key: SCALE * one if key in ("goodenough", "dimer") else one for key, one in others.items()}
    click.echo(f"{name}: { ({key: round(correlation(logs(image), logs(one)), 4) for key, one in scaled.items()}) }")


def _other(samples: DenoisingSamples, index: int, time: float) -> Pair:
    """A pair of no single model: blends, halves, exchanged cells and patterns in turn."""
    rng = generator(samples.seed, "denoising numbers/others", index)
    clean, _ = samples.clean(KINDS[1 + index % (len(KINDS) - 1)], rng)
    return pair_of(samples, clean, index=index, counting_time=time)


def _truth(pair: Pair) -> _Singles:
    return stabilised(pair.expected, pair.sigma[:, None, None])


def _network(network: Denoiser) -> Callable[[Pair], Any]:
    return lambda pair: denoise(network, pair.counts, pair.measured, sigma=pair.sigma).image


def _fitted(network: Denoiser) -> Callable[[Pair], Any]:
    """The image of the network's components, zeros as clipped, that it starts from."""

    def apply(pair: Pair) -> Any:
        cells = network.config.cells
        inputs = torch.from_numpy(denoiser_input(pair.counts, pair.measured, pair.sigma)[None])
        fitted = network.fitted(inputs[:, :cells], inputs[:, cells : 2 * cells])[0]
        return counts_of(fitted.double().numpy(), pair.sigma[:, None, None])

    return apply


def _classical(method: TunedFilter) -> Callable[[Pair], Any]:
    return lambda pair: counts_of(method(pair.counts, pair.measured, pair.sigma), pair.sigma[:, None, None])


if __name__ == "__main__":
    main()
