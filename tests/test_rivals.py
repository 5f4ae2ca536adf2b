"""From a configuration to a jury: on a frame of four small cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from insdl.dataset.configuration import Configuration, configuration, load_configuration
from insdl.dataset.view import ViewPrior
from insdl.learn import rivals
from insdl.learn.jury import load_jury
from insdl.learn.rivals import RivalSettings, train_jury
from insdl.learn.settings import TrainingSettings

SMALL = RivalSettings(
    members=2,
    images=64,
    validation=32,
    held_out=240,
    training=TrainingSettings(epochs=2, batch_size=16, threads=1),
    views=ViewPrior(),
    widths=(8, 8, 8),
)


def small_configuration() -> Configuration:
    content = load_configuration("pcsmo").model_dump()
    content["frame"]["blocks"] = content["frame"]["blocks"][2:4]
    for block in content["frame"]["blocks"]:
        block["bins"] = block["bins"][4:6]
    content["frame"] |= {"pixels": {"first": -1.0, "last": 1.0, "count": 16}, "subpixels": 1}
    content["detection"]["counting"]["sigma"] = [1.0]
    for name in ("phonons", "elastic", "aluminium"):
        content["detection"]["nuisances"][name]["shapes"] = 2
    return configuration(content)


def weights(path: Path) -> list[torch.Tensor]:
    return [value for member in load_jury(path).members for value in member.state_dict().values()]


def test_a_jury_is_trained_saved_and_the_same_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_jury(small_configuration(), tmp_path / "whole.pt", SMALL, progress="silent")
    assert whole.classes == ("goodenough", "dimer", "zener_polaron", "none")
    assert not np.array_equal(whole.members[0].mix2[0].weight.detach(), whole.members[1].mix2[0].weight.detach())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.pt"]
    compared = load_jury(tmp_path / "whole.pt").description["held_out"]
    assert compared["measurements"] == 240
    assert len(compared["each network"]) == 2
    assert {"measurements", "principal components, logistic regression"} < set(compared["simple methods"])
    shares = [compared["all networks"], *compared["each network"], *list(compared["simple methods"].values())[1:]]
    assert all(0.1 < share <= 1.0 for share in shares)

    trained, plain = [], rivals.train

    def once(network: torch.nn.Module, **options: object) -> object:
        if trained:
            raise KeyboardInterrupt
        trained.append(plain(network, **options))
        return trained[0]

    monkeypatch.setattr(rivals, "train", once)
    with pytest.raises(KeyboardInterrupt):
        train_jury(small_configuration(), tmp_path / "cut.pt", SMALL, progress="silent")
    assert not (tmp_path / "cut.pt").exists()
    monkeypatch.setattr(rivals, "train", plain)
    train_jury(small_configuration(), tmp_path / "cut.pt", SMALL, progress="silent")
    for one, other in zip(weights(tmp_path / "cut.pt"), weights(tmp_path / "whole.pt"), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="members must be at least 1, got 0"):
        RivalSettings(members=0)
    with pytest.raises(ValueError, match=r"the folder of .* does not exist"):
        train_jury(small_configuration(), tmp_path / "no" / "jury.pt", SMALL)


def test_the_alarm_is_set_by_measurements_of_which_some_are_noisy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here all of them, with eight times their noise; what the simple methods are asked about has none of it."""
    given: dict[str, dict[str, Any]] = {}
    seat, compared = rivals.seat_jury, rivals._compared
    monkeypatch.setattr(rivals, "seat_jury", lambda *args, **rest: given.update(seat=rest) or seat(*args, **rest))
    monkeypatch.setattr(rivals, "_compared", lambda *args: given.update(compared={"sets": args[1:]}) or compared(*args))
    loud = ViewPrior(0.0, 0.0, 0.0, 0.0, 0.0, more_noise=1.0, noise=(8.0, 8.0))
    train_jury(small_configuration(), tmp_path / "loud.pt", replace(SMALL, members=1, noisy=loud), progress="silent")
    for name, (plain, labels) in zip(("training", "held_out"), given["compared"]["sets"], strict=True):
        noisy, same_labels = given["seat"][name]
        np.testing.assert_array_equal(labels, same_labels)
        quiet, spread = (np.median(np.abs(np.sinh(one[:, :4])[one[:, 4:] > 0])) for one in (plain, noisy))
        assert spread > 1.5 * quiet
        np.testing.assert_array_equal(noisy[:, 4:], plain[:, 4:])  # whole measurements
