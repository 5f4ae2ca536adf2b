"""insdl explain: each command from a checkpoint to arrays and pictures; the report; one sentence for bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from insdl.cli import main
from insdl.commands.explain_given import gather
from insdl.dataset.configuration import load_configuration, load_source
from insdl.explain.cam import grad_cam
from insdl.explain.layers import answers
from insdl.learn.networks import CellClassifier, CellSetClassifier
from insdl.learn.train import save_checkpoint

CELLS, PIXELS = 6, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints, and PCSMO cut down to two incident energies, three bins each, 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("explain")
    content = load_configuration("pcsmo").model_dump(mode="json")
    content["frame"]["blocks"] = [{**block, "bins": block["bins"][4:7]} for block in content["frame"]["blocks"][3:5]]
    content["frame"]["pixels"]["count"] = PIXELS
    content["detection"]["counting"]["sigma"] = [1.0] * CELLS
    del content["detection"]["nuisances"]
    (folder / "small.yaml").write_text(yaml.safe_dump(content), "utf-8")
    for seed in (0, 1):
        network = CellClassifier(
            cells=CELLS, classes=("goodenough", "dimer"), pixels=PIXELS, widths=(8, 8, 8), seed=seed
        )
        save_checkpoint(folder / f"network-{seed}.pt", network)
    frame = load_source(str(folder / "small.yaml"), n_samples=2).configuration.frame.image_frame()  # type: ignore[attr-defined]
    for seed in (0, 1):
        rivals = CellSetClassifier(
            [frame.bin_at(number) for number in range(CELLS)], classes=("goodenough", "dimer", "zener_polaron", "none"),
            pixels=PIXELS, filters=2, widths=(8, 8, 8), seed=seed,
        )  # fmt: skip
        save_checkpoint(folder / f"set-{seed}.pt", rivals)
    return folder


def call(folder: Path, output: Path, *words: str, networks: int = 1, kind: str = "network") -> Result:
    checkpoints = [str(folder / f"{kind}-{seed}.pt") for seed in range(networks)]
    options = ["--preset", str(folder / "small.yaml"), "--samples", "12", "--threads", "1", "--output", str(output)]
    return CliRunner().invoke(main, ["explain", *words, *checkpoints, *options])


@pytest.mark.parametrize(
    ("words", "stem", "arrays", "says"),
    [
        (["activations", "--layer", "cells"], "activations", {"activations": (12, 8, 8)}, "12 filters"),
        (["weights"], "weights", {"weights": (12, 1, 4, 4), "moran": (12,)}, "mean Moran's I"),
        (["maximal", "--count", "3"], "maximal", {"images": (3,), "rows": (3, 2)}, "is excited most by image"),
        (["maximise", "--steps", "3"], "maximised", {"image": (6, 16, 16), "history": (4,)}, "for the answer"),
        (["embed"], "embedding", {"points": (12, 2), "placed": (1, 2)}, "Nearest simulated images"),
        (["atlas", "--grid", "2"], "atlas", {"points": (48, 2)}, "vectors of mix3"),
        (["occlude", "--by", "bands"], "occlusion-bands", {}, "drops most for"),
        (["occlude"], "occlusion-cells", {"drop": (6,)}, "the average of the simulated classes"),
        (["attribute"], "attribution-hires-cam", {"maps": (6, 16, 16), "importance": (6,)}, "Cells that count"),
        (["attribute", "--method", "cam"], "attribution-cam", {"maps": (16, 16)}, "One map for all cells"),
        (["attribute", "--method", "integrated"], "attribution-integrated", {"maps": (6, 16, 16)}, "Cells that count"),
    ],
)
def test_every_command_writes_arrays_and_pictures(
    words: list[str], stem: str, arrays: dict[str, tuple[int, ...]], says: str, folder: Path, tmp_path: Path
) -> None:
    done = call(folder, tmp_path / "out", *words)
    assert done.exit_code == 0, done.output
    assert says in done.output
    with np.load(tmp_path / "out" / f"{stem}.npz") as content:
        for name, shape in arrays.items():
            assert content[name].shape == shape
        assert all(np.isfinite(values).all() for values in content.values() if values.dtype.kind == "f")
    pictures = list((tmp_path / "out").glob("*.png"))
    assert pictures
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


@pytest.mark.parametrize(
    ("words", "stem", "arrays", "says"),
    [
        (["cells", "--orders", "4"], "cells", {"value": (2, 6), "whole": (2,)}, "Cells that speak most for it"),
        (["trust"], "trust", {"importance": (6,), "deletion_answer": (7,)}, "2 networks rank the cells alike by"),
        (["attribute"], "attribution-hires-cam", {"maps": (6, 16, 16), "importance": (6,)}, "Cells that count"),
        (["attribute", "--method", "cam"], "attribution-cam", {"maps": (16, 16)}, "One map for all cells"),
        (["activations", "--layer", "mix2"], "activations", {"activations": (8, 2, 2)}, "8 filters"),
        (["maximal", "--count", "3"], "maximal", {"images": (3,), "rows": (3, 2)}, "is excited most by image"),
        (["maximise", "--steps", "3"], "maximised", {"image": (6, 16, 16)}, "for the answer"),
        (["occlude"], "occlusion-cells", {"drop": (6,)}, "the average of the simulated classes"),
        (["weights"], "weights", {"weights": (2, 2, 4, 4)}, "mean Moran's I"),
    ],
)
def test_networks_of_a_jury_are_explained_too(
    words: list[str], stem: str, arrays: dict[str, tuple[int, ...]], says: str, folder: Path, tmp_path: Path
) -> None:
    done = call(folder, tmp_path / "out", *words, networks=2, kind="set")
    assert done.exit_code == 0, done.output
    assert says in done.output
    with np.load(tmp_path / "out" / f"{stem}.npz") as content:
        for name, shape in arrays.items():
            assert content[name].shape == shape
        if stem.startswith("attribution"):  # mirrors are folded: what is found is the same in all four quarters
            np.testing.assert_allclose(content["maps"], content["maps"][..., ::-1, :], atol=1e-12)


def test_the_command_says_what_the_function_says(folder: Path, tmp_path: Path) -> None:
    """The maps in the file add up, per cell, to Grad-CAM of the image that is explained, for the target asked."""
    done = call(folder, tmp_path / "out", "attribute", "--method", "grad-cam", "--target", "dimer")
    assert done.exit_code == 0, done.output
    given = gather(
        [folder / "network-0.pt"], preset=str(folder / "small.yaml"), samples=12, seed=0, target="dimer",
        measurement=None, threads=1,
    )  # fmt: skip
    expected = grad_cam(given.network, given.image[None], target=1, layer="cells", cells=CELLS, sign="signed")
    with np.load(tmp_path / "out" / "attribution-grad-cam.npz") as content:
        np.testing.assert_allclose(content["importance"], expected[0].sum(axis=(1, 2)), atol=1e-9)
    assert given.what == "simulated: goodenough"
    assert not given.images[:, ~given.measured].any()
    assert (given.images[:, given.measured] > 0).any()


def test_trust_over_two_networks(folder: Path, tmp_path: Path) -> None:
    done = call(folder, tmp_path / "out", "trust", networks=2)
    assert done.exit_code == 0, done.output
    assert "2 networks rank the cells alike by" in done.output
    with np.load(tmp_path / "out" / "trust.npz") as content:
        assert content["rank_correlation"].shape == (2, 2)
        assert content["deletion_answer"].shape == (CELLS + 1,)
        given = gather(
            [folder / "network-0.pt"], preset=str(folder / "small.yaml"), samples=12, seed=0, target=None,
            measurement=None, threads=1,
        )  # fmt: skip
        whole = answers(given.network, given.image[None], target=(0, 1))[0]
        assert content["deletion_answer"][0] == pytest.approx(whole, abs=1e-5)
        assert content["insertion_answer"][-1] == pytest.approx(whole, abs=1e-5)


def test_report_holds_every_explanation(folder: Path, tmp_path: Path) -> None:
    done = call(folder, tmp_path / "out", "report", networks=2)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    for title in (
        "hires-cam of the answer goodenough - dimer",
        "What hires-cam is worth",
        "Atlas of mix3",
        "Weights of",
    ):
        assert title in page
    assert page.count("<img") == 11
    assert len(list((tmp_path / "out").glob("*.npz"))) == 11


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["attribute", "--target", "zener"], "target must be one of goodenough, dimer"),
        (["activations", "--layer", "nowhere"], "layer must be one of cells"),
        (["weights", "--layer", "mix1.0"], "must be a convolution of at least 2 x 2"),
        (["attribute", "--preset", "pcsmo"], "reads images of shape (6, 16, 16), those of pcsmo have (60, 40, 40)"),
        (["maximal", "--mask", "somewhere.npy"], "--mask needs --measured"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], message: str, folder: Path, tmp_path: Path) -> None:
    checkpoint, preset = str(folder / "network-0.pt"), ["--preset", str(folder / "small.yaml")]
    tail = [] if "--preset" in words else preset
    done = CliRunner().invoke(
        main, ["explain", *words, checkpoint, *tail, "--samples", "10", "--output", str(tmp_path / "o")]
    )
    assert done.exit_code == 2
    assert message in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()
