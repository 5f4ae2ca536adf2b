"""A jury on a small question: two patterns, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from insdl.dataset.view import network_view
from insdl.learn.jury import Jury, hear, load_jury, member_probabilities, save_jury, seat_jury
from insdl.learn.networks import CellSetClassifier
from insdl.learn.verdict import CANNOT_TELL, NONE_OF_THESE

CELLS = [(25.0, 2.0, 4.0), (25.0, 4.0, 6.0), (50.0, 5.0, 10.0)]
CLASSES = ("stripes", "spots", "none")
_Images = npt.NDArray[np.float32]


def counts(label: int, rng: np.random.Generator) -> _Images:
    """(3, 16, 16): waves along one axis, or along both, of a random phase, or cells that have nothing in common."""
    x, y = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    if label == 2:
        mean = np.where(rng.random((3, 16, 16)) < 0.1, 30.0, 0.0)
    else:
        phase = rng.uniform(0, 2 * np.pi, size=2)
        wave = 1 + np.cos(np.pi * x / 4 + phase[0])
        if label == 1:
            wave = wave * (1 + np.cos(np.pi * y / 4 + phase[1]))
        mean = np.array([1.0, 0.6, 0.3])[:, None, None] * wave * rng.uniform(3.0, 6.0)
    return rng.poisson(mean).astype(np.float32)


def sample_set(n: int, seed: int) -> tuple[_Images, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return np.stack([counts(int(label), rng) for label in labels]), labels


def inputs(n: int, seed: int) -> tuple[_Images, npt.NDArray[np.int64]]:
    images, labels = sample_set(n, seed)
    return network_view(images, np.ones(images.shape, dtype=bool)), labels


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Teams of threads spin where anything else runs; these networks are too small for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def member(seed: int) -> CellSetClassifier:
    network = CellSetClassifier(
        CELLS, classes=CLASSES, pixels=16, filters=3, widths=(16, 16, 16), mirrors="apart", seed=seed
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    with torch.random.fork_rng(devices=[]):
        for step in range(90):
            images, labels = inputs(32, 1000 * (seed + 1) + step)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(torch.from_numpy(images)), torch.from_numpy(labels)).backward()
            optimizer.step()
    return network.eval()


@cache
def jury() -> Jury:
    return seat_jury(
        [member(0), member(1)], training=inputs(300, 1), held_out=inputs(600, 2), description={"what": "a test"}
    )


SEEN = np.ones((3, 16, 16), dtype=bool)


def test_it_knows_its_classes_and_the_false_alarm_rate_is_kept() -> None:
    images, labels = sample_set(600, 3)
    verdicts = hear(jury(), images, SEEN)
    known = [i for i, label in enumerate(labels) if label < 2]
    right = [verdicts[i].answer == CLASSES[labels[i]] for i in known]
    assert np.mean(right) > 0.9
    alarms = sum(not verdicts[i].in_distribution for i in known)
    assert alarms <= 0.02 * 400 + 4 * np.sqrt(0.02 * 400)
    assert all(verdicts[i].answer == NONE_OF_THESE for i, label in enumerate(labels) if label == 2)
    assert all(sum(verdict.probability.values()) == pytest.approx(1.0) for verdict in verdicts)


def test_what_no_member_has_seen_is_none_of_these() -> None:
    """A square, and counts that are a hundred times too high: not among the foreign images either."""
    rng = np.random.default_rng(4)
    squares = np.zeros((3, 16, 16))
    squares[:, 4:12, 4:12] = 20.0
    bright, _ = sample_set(1, 5)
    strange = np.stack([rng.poisson(squares), 100.0 * bright[0]]).astype(np.float32)
    verdicts = hear(jury(), strange, SEEN)
    assert [verdict.answer for verdict in verdicts] == [NONE_OF_THESE] * 2
    assert not any(verdict.in_distribution for verdict in verdicts)


def test_it_fails_closed() -> None:
    images, _ = sample_set(3, 6)
    images[0, 1, 2, 3] = np.nan
    seen = np.stack([SEEN, SEEN, np.zeros_like(SEEN)])
    verdicts = hear(jury(), images, seen)
    assert verdicts[0].answer == verdicts[2].answer == NONE_OF_THESE
    assert verdicts[0].probability["none"] == 1.0
    assert not verdicts[2].in_distribution
    alone = hear(jury(), images[1:2], SEEN)[0]
    assert alone.probability == pytest.approx(dict(verdicts[1].probability))  # a neighbour's fault is not its own
    seen[0, 1, 2, 3] = False  # a pixel that was not measured may hold anything
    assert hear(jury(), images, seen)[0].answer == "stripes"


def test_a_part_of_a_measurement_is_judged_by_what_is_there() -> None:
    """Where a cell is missing the features are not compared with those of whole measurements."""
    images, _ = sample_set(1, 7)
    part = SEEN.copy()
    part[0] = False
    whole, some = hear(jury(), images, SEEN)[0], hear(jury(), images, part)[0]
    assert whole.answer == "stripes"
    assert some.score != whole.score
    assert hear(jury(), images, SEEN, required=1.0)[0].answer == CANNOT_TELL


def test_members_are_kept_in_half_precision_and_lose_nothing(tmp_path: Path) -> None:
    """What was seated is what is read again, bit for bit; whoever trained the members finds them unchanged."""
    trained = member(0)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    seated = seat_jury([trained], training=inputs(300, 1), held_out=inputs(600, 2))
    for name, value in trained.state_dict().items():
        assert torch.equal(value, before[name])
        rounded = seated.members[0].state_dict()[name]
        torch.testing.assert_close(rounded, value, rtol=5e-4, atol=1e-7)
    save_jury(tmp_path / "jury.pt", seated)
    kept = torch.load(tmp_path / "jury.pt", weights_only=True)["members"][0]["state"]
    assert kept["mix2.0.weight"].dtype == torch.float16
    assert kept["mix2.1.running_var"].dtype == torch.float32
    again = load_jury(tmp_path / "jury.pt").members[0].state_dict()
    for name, value in seated.members[0].state_dict().items():
        assert again[name].dtype == value.dtype
        assert torch.equal(again[name], value)


def test_a_jury_comes_back_from_its_file(tmp_path: Path) -> None:
    images, _ = sample_set(9, 8)
    save_jury(tmp_path / "jury.pt", jury())
    again = load_jury(tmp_path / "jury.pt")
    assert hear(again, images, SEEN) == hear(jury(), images, SEEN)
    assert again.description == {"what": "a test"}
    np.testing.assert_array_equal(member_probabilities(again, images, SEEN), member_probabilities(jury(), images, SEEN))
    content = bytearray((tmp_path / "jury.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "jury.pt").write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"jury\.pt is (damaged|not a jury of insdl)"):
        load_jury(tmp_path / "jury.pt")
    torch.save({"format": "other"}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a jury of insdl"):
        load_jury(tmp_path / "other.pt")


def test_members_must_fit_together() -> None:
    first = jury().members[0]
    other = CellSetClassifier(CELLS, classes=("stripes", "none"), pixels=16, widths=(16, 16, 16))
    with pytest.raises(ValueError, match="members must have the same cells and classes"):
        seat_jury([first, other], training=inputs(9, 1), held_out=inputs(9, 2))
    plain = CellSetClassifier(CELLS, classes=("stripes", "spots"), pixels=16, widths=(16, 16, 16))
    with pytest.raises(ValueError, match="the last class must be 'none'"):
        seat_jury([plain], training=inputs(9, 1), held_out=inputs(9, 2))


def test_parts_of_measurements_have_a_false_alarm_rate_of_their_own(tmp_path: Path) -> None:
    """One cell of three leaves the members unsure; by the measure of whole measurements that would be strange."""

    def parts(n: int, seed: int) -> tuple[_Images, _Images, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        images, labels = sample_set(n, seed)
        seen = np.zeros(images.shape, dtype=bool)
        seen[np.arange(n), np.random.default_rng(seed).integers(3, size=n)] = True
        return network_view(images, seen), images, seen, labels

    views, _, _, labels = parts(900, 6)
    members = list(jury().members)
    plain = seat_jury(members, training=inputs(300, 1), held_out=inputs(600, 2))
    found = seat_jury(members, training=inputs(300, 1), held_out=inputs(600, 2), parts=(views, labels))
    _, images, seen, labels = parts(900, 7)
    known = labels != 2
    alarms = [
        float(np.mean([not verdict.in_distribution for verdict in hear(one, images[known], seen[known])]))
        for one in (plain, found)
    ]
    assert alarms[1] <= 0.03
    assert alarms[1] <= alarms[0]
    whole, _ = sample_set(200, 8)
    everything = np.ones(whole.shape, dtype=bool)
    assert [v.p_value for v in hear(found, whole, everything)] == [v.p_value for v in hear(plain, whole, everything)]
    save_jury(tmp_path / "parts.pt", found)
    assert load_jury(tmp_path / "parts.pt").parts_scale == found.parts_scale
    few = seat_jury(members, training=inputs(300, 1), held_out=inputs(600, 2), parts=(views[:60], labels[:60]))
    assert few.parts_scale is None
