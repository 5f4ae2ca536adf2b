"""insdl train and insdl denoise: what their help promises is what the library does by itself."""

from __future__ import annotations

import click
import pytest

from insdl.commands.denoise import denoise
from insdl.commands.train import exchange, rivals
from insdl.learn.denoise import DenoiserTraining
from insdl.learn.exchange_training import ExchangeSettings
from insdl.learn.rivals import RivalSettings


@pytest.mark.parametrize(
    ("command", "settings"), [(rivals, RivalSettings()), (exchange, ExchangeSettings())], ids=["rivals", "exchange"]
)
def test_defaults_of_training_are_those_of_its_settings(command: click.Command, settings: object) -> None:
    given = {option.name: option.default for option in command.params}
    training = settings.training  # type: ignore[attr-defined]
    assert given["epochs"] == training.epochs
    for name in ("images", "seed", "members"):
        if name in given:
            assert given[name] == getattr(settings, name)


def test_defaults_of_the_denoiser_are_those_of_its_settings() -> None:
    given = {option.name: option.default for option in denoise.params}
    assert (given["pairs"], given["seed"]) == (DenoiserTraining().pairs, DenoiserTraining().seed)
