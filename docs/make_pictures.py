"""Makes docs/pictures/*.png with insdl itself, from simulation alone: python docs/make_pictures.py [folder]."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from insdl import Bond, Site, SpinModel, Zeeman
from insdl.commands.denoise import cached_file, first_use
from insdl.dataset.configuration import configuration, load_configuration
from insdl.dataset.detection import Detector
from insdl.dataset.nuisance_prior import switched_off
from insdl.dataset.pcsmo import DetectionPrior, detect
from insdl.dataset.prior import Range
from insdl.dataset.randomness import generator
from insdl.instrument import (
    ImageFrame,
    ImageSettings,
    ImageSimulator,
    MosaicCrystal,
    TripleAxis,
    detector_coverage,
    simulated_scan,
)
from insdl.instrument.covariance import covariance_to_rlu
from insdl.instrument.pcsmo import NOISE_SIGMA, SCALE, SETTINGS, pcsmo_frame
from insdl.instrument.published import PublishedSimulator
from insdl.instrument.rb2mnf4 import WINDOWS, rb2mnf4_frame
from insdl.instrument.triple_axis import ARCMINUTE, PG002, scan_covariance
from insdl.instrument.widths import FWHM_PER_SIGMA
from insdl.learn.baselines import fit_logistic, logistic_logits, principal_components, project
from insdl.learn.calibration import calibrated, fit_temperature
from insdl.learn.classical_denoise import tuned
from insdl.learn.denoise import DenoiserTraining, denoise
from insdl.learn.denoise_trust import pair_of
from insdl.learn.denoising_networks import DenoiserConfig
from insdl.learn.denoising_samples import DenoisingSamples
from insdl.learn.reliability import calibration_error, reliability_diagram
from insdl.learn.stabilisation import counts_of
from insdl.materials import dimer, goodenough, rb2mnf4
from insdl.materials.pcsmo import LITERATURE as PCSMO
from insdl.materials.rb2mnf4 import LITERATURE as RB2MNF4
from insdl.plot import reliability as reliability_figure
from insdl.units import NEUTRON_E_PER_K2

Image = npt.NDArray[np.floating]
BLOCK, SLICES = 3, range(1, 9)  # Ei = 70 meV, 11 to 45 meV: where the two models differ most


def show(axis: Axes, frame: ImageFrame, image: Image, **options: Any) -> Any:
    """One map over (Qk, Qh), ticks left to the caller."""
    low, high = frame.pixel_edges[[0, -1]]
    axis.set_facecolor("0.8")
    axis.set_xticks([])
    axis.set_yticks([])
    return axis.imshow(image, origin="lower", extent=(low, high, low, high), interpolation="nearest", **options)


def grid_of_maps(
    frame: ImageFrame,
    rows: Mapping[str, Sequence[Image]],
    titles: Sequence[str],
    label: str,
    *,
    size: float,
    top: float,
) -> Figure:
    """Rows of maps with one colour scale; a row's name stands at its left, a column's title above it."""
    figure = Figure(figsize=(size * len(titles) + 1.6, size * len(rows) + 0.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)  # type: ignore[union-attr]
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    picture = None
    for i, (name, images) in enumerate(rows.items()):
        for j, image in enumerate(images):
            picture = show(axes[i, j], frame, image, cmap="magma", vmin=0.0, vmax=top)
        axes[i, 0].set_ylabel(name, fontsize=9)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8, pad=3)
    corner = axes[-1, 0]
    corner.set_xticks([-1, 0, 1], ["-1", "Qk", "1"], fontsize=7)
    corner.set_yticks([-1, 0, 1], ["-1", "Qh", "1"], fontsize=7)
    colours = figure.colorbar(picture, ax=axes, shrink=0.85, aspect=25, pad=0.01)
    colours.set_label(label, fontsize=8)
    colours.ax.tick_params(labelsize=7)
    return figure


def pcsmo_models() -> Figure:
    """The two rivals of PCSMO at their literature parameters, and the first as a detector would count it."""
    frame = pcsmo_frame()
    images = {
        name: SCALE * ImageSimulator(model, frame).simulate(SETTINGS, **PCSMO[name])
        for name, model in (("goodenough", goodenough()), ("dimer", dimer()))
    }
    measured = detector_coverage(frame, np.asarray(goodenough().lattice))
    detection = DetectionPrior(scale=Range(1.0, 1.0), noise=Range(1.0, 1.0), flips=False)
    counted = detect(images["goodenough"], measured, generator(0, "picture", 0), detection)
    sheets = {
        "Goodenough": images["goodenough"],
        "dimer": images["dimer"],
        "Goodenough,\nas counted": np.ma.masked_array(counted, mask=~measured),
    }
    numbers = [10 * BLOCK + n for n in SLICES]
    titles = [f"{low:.0f} to {high:.0f} meV" for low, high in frame.bins[numbers]]
    rows = {name: [np.log1p(sheet[n]) for n in numbers] for name, sheet in sheets.items()}
    return grid_of_maps(frame, rows, titles, "log(1 + counts)", size=1.15, top=2.2)


def image_steps() -> Figure:
    """What each ingredient does to one cell of the Goodenough image."""
    sharp = [replace(block, sigma_energy=(0.01, 0.0, 0.0), sigma_q=0.003) for block in pcsmo_frame().blocks]
    flat = [replace(block, fixed_l=0.0) for block in sharp]
    pixels = np.asarray(pcsmo_frame().pixels)
    table, found = ImageSettings(), replace(SETTINGS, twin_fraction=0.0)
    steps: list[tuple[str, ImageFrame, ImageSettings]] = [
        ("L = 0, sharp, one twin", ImageFrame(flat, pixels), table),
        ("kinematic L", ImageFrame(sharp, pixels), table),
        ("resolution", pcsmo_frame(), table),
        ("broadening", pcsmo_frame(), found),
        ("both twins", pcsmo_frame(), SETTINGS),
    ]
    number = 10 * BLOCK + 5
    images = [
        SCALE * ImageSimulator(goodenough(), frame).simulate(settings, **PCSMO["goodenough"])[number]
        for _, frame, settings in steps
    ]
    row = {"28 to 32 meV": [np.log1p(image) for image in images]}
    return grid_of_maps(pcsmo_frame(), row, [name for name, _, _ in steps], "log(1 + counts)", size=1.6, top=3.0)


def published_physics() -> Figure:
    """The same model with the physics of the published simulations and with that of the spectrometer."""
    frame, values = pcsmo_frame(), PCSMO["goodenough"]
    sheets = {
        "as published": PublishedSimulator(goodenough()).simulate(**values),
        "insdl": SCALE * ImageSimulator(goodenough(), frame).simulate(SETTINGS, **values),
    }
    numbers = [0, 1, 3, 30, 35, 58]
    titles = []
    for number in numbers:
        energy, low, high = frame.bin_at(number)
        titles.append(f"Ei = {energy:g} meV\n{low:.3g} to {high:.3g} meV")
    rows = {name: [np.log1p(sheet[n]) for n in numbers] for name, sheet in sheets.items()}
    return grid_of_maps(frame, rows, titles, "log(1 + counts)", size=1.4, top=3.0)


def kinematic_l() -> Figure:
    """Ql against energy transfer at (Qh, Qk) = (0, 0), for the incident energies of the PCSMO frame."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axis = figure.subplots()
    c_star = 2 * np.pi / np.asarray(goodenough().lattice)[2, 2]
    for block in pcsmo_frame().blocks:
        energy = np.linspace(0.1, 0.7, 50) * block.incident_energy
        ki, kf = (np.sqrt(e / NEUTRON_E_PER_K2) for e in (block.incident_energy, block.incident_energy - energy))
        axis.plot(energy, (ki - kf) / c_star, label=f"Ei = {block.incident_energy:g} meV")
    axis.set_xlabel("energy transfer (meV)")
    axis.set_ylabel("Ql at Qh = Qk = 0 (r.l.u.)")
    axis.legend(fontsize=7)
    return figure


def dispersion(axis: Axes, model: SpinModel, parameters: Mapping[str, float], path: Image) -> None:
    """Energies along a path of q, the darker the larger the square root of the neutron intensity."""
    modes = model.modes(path, **parameters)
    x = np.arange(len(path)) / (len(path) - 1)
    strength = np.clip(np.sqrt(modes.intensity / np.percentile(modes.intensity, 95)), 0.0, 1.0)
    axis.plot(x, modes.energy, color="0.85", lw=0.6, zorder=0)
    axis.scatter(
        np.repeat(x[:, None], modes.energy.shape[1], axis=1),
        modes.energy,
        c=strength,
        s=3,
        cmap="Greys",
        vmin=0,
        vmax=1,
    )
    axis.set_ylim(0, None)
    axis.set_xlim(0, 1)


def dispersions() -> Figure:
    """Spin waves of the three models along lines in the plane."""
    figure = Figure(figsize=(9.0, 3.0), layout="constrained")
    axes = figure.subplots(1, 3)
    along_h = np.stack([np.linspace(0, 1, 400), np.full(400, 0.25), np.full(400, 1.0)], axis=1)
    cases = [
        ("PCSMO, Goodenough", goodenough(), PCSMO["goodenough"], along_h, "(Qh, 1/4, 1)"),
        ("PCSMO, dimer", dimer(), PCSMO["dimer"], along_h, "(Qh, 1/4, 1)"),
        ("Rb₂MnF₄", rb2mnf4(), RB2MNF4, along_h * [1, 0, 0] + along_h[:, :1] * [0, 1, 0], "(Q, Q, 0)"),
    ]
    for axis, (title, model, parameters, path, name) in zip(axes, cases, strict=True):
        dispersion(axis, model, parameters, path)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(f"{name}, r.l.u.", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("energy (meV)", fontsize=8)
    return figure


def rb2mnf4_windows() -> Figure:
    """The default map of Rb2MnF4, and how it changes when J1, J2 and D all grow by a tenth."""
    frame = rb2mnf4_frame()
    simulator = ImageSimulator(rb2mnf4(), frame, margin=0.07)
    first = simulator.simulate(**RB2MNF4)
    grown = simulator.simulate(**{name: 1.1 * value for name, value in RB2MNF4.items()})
    rows = {"literature": list(np.sqrt(first)), "all × 1.1": list(np.sqrt(grown))}
    titles = [f"{low:g} to {high:g} meV" for low, high in WINDOWS]
    return grid_of_maps(frame, rows, titles, "√ intensity", size=1.6, top=float(np.percentile(np.sqrt(first), 99.5)))


def resolution_ellipses() -> Figure:
    """A ferromagnet's magnon on both sides of a zone centre: resolution ellipses of a triple-axis spectrometer, and scans."""
    cell = np.diag([4.0, 4.0, 6.0])
    bonds = [Bond(0, 0, (1, 0, 0), -2.5), Bond(0, 0, (0, 1, 0), -2.5)]
    model = SpinModel(cell, cell, [Site((0, 0, 0), 2.0, (0, 0, 1), "Mn2+")], bonds, zeeman=[Zeeman(0, (0, 0, -0.5))])
    collimation = np.full(4, 40) * ARCMINUTE
    graphite = [MosaicCrystal(PG002, 30 * ARCMINUTE, sense) for sense in (1, 1)]
    spectrometer = TripleAxis(*graphite, -1, "kf", 14.7, collimation, 2 * collimation)
    plane = {"u": (1.0, 0.0, 0.0), "v": (0.0, 1.0, 0.0)}
    figure = Figure(figsize=(7.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    h = np.linspace(0.78, 1.22, 200)
    left.plot(h, model.modes(np.column_stack([h, 0 * h, 0 * h])).energy[:, 0], "k-", lw=0.8)
    circle = np.stack([np.cos(angle := np.linspace(0, 2 * np.pi, 200)), np.sin(angle)])
    for colour, place in (("C0", 0.83), ("C1", 1.17)):
        q = np.array([[place, 0.0, 0.0]])
        energy = float(model.modes(q).energy[0, 0])
        covariance = covariance_to_rlu(scan_covariance(spectrometer, q, [energy], lattice=cell, **plane), cell)[0]
        ellipse = FWHM_PER_SIGMA / 2 * np.linalg.cholesky(covariance[np.ix_([0, 3], [0, 3])]) @ circle
        left.fill(place + ellipse[0], energy + ellipse[1], color=colour, alpha=0.7)
        energies = energy + np.linspace(-4, 5, 91)
        scan = simulated_scan(model, spectrometer, np.repeat(q, 91, axis=0), energies, **plane)
        right.plot(energies, scan.intensity, color=colour, label=f"Q = ({place:g}, 0, 0)")
    left.set(xlabel="Qh (r.l.u.), Qk = Ql = 0", ylabel="energy (meV)", ylim=(0, 9))
    right.set(xlabel="energy (meV)", ylabel="intensity (1/meV)")
    right.legend(fontsize=8)
    return figure


NUISANCE_STEPS: tuple[tuple[str, dict[str, dict[str, float]]], ...] = (
    ("spin waves", {}),
    ("+ phonons", {"phonons": {"level": 2.5}}),
    ("+ elastic line", {"elastic": {"level": 4.0, "bragg": 30.0}}),
    ("+ aluminium", {"aluminium": {"level": 4.0, "phonons": 0.01}}),
    (
        "+ smooth, halo",
        {"smooth": {"level": 0.6}, "halo": {"level": 4.0, "energy": 9.0, "energy_width": 4.0, "width": 0.06}},
    ),
    ("+ streaks", {"streaks": {"count": 60.0, "height": 4.0}}),
    ("− subtracted", {"planes": {"sigma": 0.4}, "pedestals": {"sigma": 0.2}, "over_subtraction": {"elastic": 2.0}}),
    ("+ hot pixels", {"hot_pixels": {"fraction": 0.005}}),
)


def nuisances() -> Figure:
    """Three cells of the Goodenough image as one nuisance after the other is switched on, and as counted."""
    preset = load_configuration("pcsmo")
    content = preset.model_dump()
    detection = content["detection"]
    detection |= {"orientation": "fixed", "scale": {"kind": "factor", "value": 1.0}}
    detection["counting"]["factor"] = 1.0
    detection["nuisances"] = switched_off(preset.detection.nuisances).model_dump()
    for name in ("phonons", "elastic", "aluminium"):
        detection["nuisances"][name]["shapes"] = 1
    image = SCALE * ImageSimulator(goodenough(), pcsmo_frame()).simulate(SETTINGS, **PCSMO["goodenough"])
    numbers, steps = (10, 13, 23), []
    for _, switches in NUISANCE_STEPS:
        for name, values in switches.items():
            detection["nuisances"][name] |= {"probability": 1.0, **values}
        detector = Detector(configuration(content))
        steps.append(np.maximum(detector.expected(image, generator(0, "picture", 4)), 0.0))
    counts = detector.detect(image, generator(0, "picture", 4))
    steps.append(np.ma.masked_array(counts, mask=~detector.measured))
    rows = {detector.frame.label(n).replace(", ", ",\n"): [np.log1p(step[n]) for step in steps] for n in numbers}
    titles = [*(name for name, _ in NUISANCE_STEPS), "counted"]
    return grid_of_maps(detector.frame, rows, titles, "log(1 + counts)", size=1.25, top=3.0)


def reliability() -> Figure:
    """A classifier with too many weights for its 400 images, before and after temperature scaling."""
    block = pcsmo_frame().blocks[BLOCK]
    frame = ImageFrame([block], np.linspace(-1.0, 1.0, 16), subpixels=2)
    noise = 6 * NOISE_SIGMA[BLOCK][:, None, None]  # a 36th of the counting time, or every answer would be right
    images, labels = [], []
    for label, (name, model) in enumerate((("goodenough", goodenough()), ("dimer", dimer()))):
        values = np.array(list(PCSMO[name].values()))
        drawn = values * generator(0, f"picture/{name}", 0).uniform(0.7, 1.3, size=(1400, len(values)))
        expected, stable = ImageSimulator(model, frame).simulate_sets(drawn, SETTINGS)
        for index, image in enumerate(expected[stable]):
            rng = generator(0, f"picture/{name}/counts", index)
            mean = SCALE * image * np.exp(rng.uniform(-0.5, 0.5))
            images.append(np.log1p(np.maximum(mean + np.sqrt(noise**2 + mean) * rng.normal(size=mean.shape), 0.0)))
            labels.append(label)
    order = generator(0, "picture/order", 0).permutation(len(labels))
    stack, truth = np.array(images)[order], np.array(labels)[order]
    training, held_out, test = slice(0, 400), slice(400, 1200), slice(1200, None)
    features = project(principal_components(stack[training], components=120), stack)
    classifier = fit_logistic(features[training], truth[training], classes=2, penalty=0.1)
    logits = logistic_logits(classifier, features)
    scaling = fit_temperature(logits[held_out], truth[held_out])
    panels = {}
    for name, temperature in (
        ("as it comes", 1.0),
        (f"temperature {scaling.temperature:.1f}, from {scaling.n_images} held-out images", scaling.temperature),
    ):
        probabilities = calibrated(logits[test], temperature=temperature)
        panels[name] = (
            reliability_diagram(probabilities, truth[test], bins=10),
            calibration_error(probabilities, truth[test], bins=10),
        )
    count = len(truth[test])
    title = f"Goodenough or dimer, {count} noisy images: logistic regression on 120 principal components"
    return reliability_figure(panels, title=title, statement="the named model")


def denoising() -> Figure:
    """Six cells of an image that is half Goodenough, half Zener polaron: the truth, as counted, smoothed, denoised."""
    config, settings = DenoiserConfig(components=320), DenoiserTraining()
    network = first_use(cached_file(config, settings, 1600), config, settings, images=1600, progress="bar")
    samples = DenoisingSamples(24, stream="picture")
    clean = samples.of_class("goodenough")[0].astype(np.float32)
    clean[:, :, 20:] = samples.of_class("zener_polaron")[0][:, :, 20:]  # the halves of one image, side by side
    pair = pair_of(samples, clean, index=0)
    smooth = tuned("gaussian", [samples.pair(index) for index in range(8)])
    noise = pair.sigma[:, None, None]
    images = {
        "expected": pair.expected,
        "as counted": pair.counts,
        "Gaussian filter": counts_of(smooth(pair.counts, pair.measured, pair.sigma), noise),
        "denoised": denoise(network, pair.counts, pair.measured, sigma=pair.sigma).image,
    }
    numbers = [13, 22, 25, 33, 35, 42, 44]
    titles = [samples.frame.label(number).replace(", ", ",\n") for number in numbers]
    rows = {
        name: [np.ma.masked_array(np.log1p(np.maximum(image[n], 0.0)), mask=~pair.measured[n]) for n in numbers]
        for name, image in images.items()
    }
    return grid_of_maps(samples.frame, rows, titles, "log(1 + counts)", size=1.25, top=2.6)


def explanations() -> Figure:
    """Spots planted in one cell of noise, and what two explanations of a network trained on them find."""
    from insdl.explain.attribution import integrated_gradients
    from insdl.explain.cam import grad_cam, layer_grid, to_pixels
    from insdl.explain.planted import PlantedTask
    from insdl.learn.networks import CellClassifier
    from insdl.learn.train import TrainingSettings, train

    task = PlantedTask((6, 16, 16), cell=4, place=(10.0, 5.0), wander=3.0)
    network = CellClassifier(cells=6, pixels=16, widths=(16, 16, 16))
    indices = range(10**6 + 1, 10**6 + 64, 2)
    spots = np.stack([task.sample(index)[0] for index in indices])
    settings = TrainingSettings(epochs=2, samples_per_epoch=768, batch_size=16, learning_rate=1e-2, threads=1)
    train(network, sample=task.sample, validation=(spots, [1] * len(spots)), settings=settings, progress="silent")
    grid = layer_grid(network, layer="cells", image_shape=task.image_shape)
    maps = to_pixels(grad_cam(network, spots, target=(1, 0), layer="cells", cells=6, sign="signed"), grid)
    integrated = integrated_gradients(network, spots, target=(1, 0), baseline=0.0).maps
    rows = {"data": spots[:, 4], "Grad-CAM": maps[:, 4], "integrated gradients": integrated[:, 4]}
    figure = Figure(figsize=(8.4, 4.3), layout="constrained")
    axes = figure.subplots(3, 6)
    for row, (name, values) in zip(axes, rows.items(), strict=True):
        bound = float(np.abs(values[:6]).max())
        limits = {"cmap": "viridis", "vmin": -2, "vmax": 7} if name == "data" else {
            "cmap": "RdBu_r", "vmin": -bound, "vmax": bound,
        }  # fmt: skip
        for number, axis in enumerate(row):
            picture = axis.imshow(values[number], origin="lower", **limits)
            axis.plot(*task.centre(indices[number])[::-1], "+", color="red" if name == "data" else "black", ms=9)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(name, fontsize=8)
        label = "noise deviations" if name == "data" else "evidence (logit)"
        figure.colorbar(picture, ax=list(row)).set_label(label, fontsize=7)
    return figure


def main(folder: Path) -> None:
    """Writes every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in (
        pcsmo_models,
        image_steps,
        published_physics,
        kinematic_l,
        dispersions,
        rb2mnf4_windows,
        resolution_ellipses,
        nuisances,
        reliability,
        denoising,
        explanations,
    ):
        figure = make()
        figure.savefig(folder / f"{make.__name__.replace('_', '-')}.png", dpi=120)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures")
