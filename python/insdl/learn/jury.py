"""Several networks that judge together which of rival models made a measurement, calibrated, and free to say none.

The members are trained apart. Their mean probabilities are scaled with one temperature. How strange a measurement is follows
from two numbers, each in units of what held-out simulated measurements have: how much the members speak for "none", and how far
their inner features lie from those of the simulated measurements (Mahalanobis distance, mean over the members). The larger one
counts. Features of a part of a measurement differ from those of a whole one, so the second is asked only where nearly all cells
were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from insdl.dataset.view import network_view
from insdl.learn.alarm import Alarm, fit_alarm
from insdl.learn.calibration import calibrated, ensemble_logits, fit_temperature
from insdl.learn.checkpoint import Checkpoint, Epoch, packed, unpacked
from insdl.learn.density import FeatureDensity, fit_density, layer_features, strangeness
from insdl.learn.networks import CellSetClassifier
from insdl.learn.prediction import outputs
from insdl.learn.torch_file import plain, read_torch_file, write_torch_file
from insdl.learn.verdict import NONE, Verdict, judge
from insdl.provenance import versions

_FORMAT = "insdl jury 2"
_LAYER = "mix3"
_MISTAKES = 5  # among held-out measurements, from which on they say how sure to be
_FEW = 100  # parts of measurements, below which their highest 1 % mean nothing
_WHOLE = 0.9  # share of the cells that must be measured for the features to be those of a whole measurement
_Reals = npt.NDArray[np.float64]
_Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """Centre and spread of a score among held-out measurements: its median, and what the highest 1 % lie above that."""

    centre: float
    spread: float

    def __call__(self, score: _Reals) -> _Reals:
        return (score - self.centre) / self.spread


@dataclass(frozen=True, eq=False)
class Jury:
    """Members, and what makes one verdict of their answers.

    Attributes
    ----------
    members : trained `CellSetClassifier`, all of the same cells and classes, the last class "none".
    temperature : of their mean probabilities.
    densities : features of simulated measurements, one for each member.
    none_scale, density_scale : `Scale` of the two measures of strangeness, of whole measurements.
    alarm : on the larger of the two.
    description : of whoever made it.
    parts_scale : of the first measure where cells are missing: who sees less is less sure that it is one of the models. None
        takes that of whole measurements. The second measure only means something for whole ones.
    """

    members: tuple[CellSetClassifier, ...]
    temperature: float
    densities: tuple[FeatureDensity, ...]
    none_scale: Scale
    density_scale: Scale
    alarm: Alarm
    description: Mapping[str, Any]
    parts_scale: Scale | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the probabilities."""
        return self.members[0].config.outputs


def seat_jury(
    members: Sequence[CellSetClassifier],
    *,
    training: tuple[_Singles, npt.NDArray[np.int64]],
    held_out: tuple[_Singles, npt.NDArray[np.int64]],
    parts: tuple[_Singles, npt.NDArray[np.int64]] | None = None,
    false_alarm_rate: float = 0.02,
    description: Mapping[str, Any] | None = None,
) -> Jury:
    """Calibrates trained members on held-out simulated measurements.

    The jury's members are copies whose weights are rounded to half precision, in which its file keeps them.

    Parameters
    ----------
    members : trained, of the same cells and classes.
    training : inputs (n, 2 cells, p, p) of whole measurements that the members may have learned from, and labels: what their
        features are like.
    held_out : the same of measurements that no member has seen: temperature and alarm.
    parts : measurements of which cells are missing, that no member has seen: how unsure a part may leave the members. Whole
        ones are left out; with fewer than 100 others, or None, parts are judged as whole measurements are.
    false_alarm_rate : share of measurements of the rivals that are taken for none of them.

    Raises
    ------
    ValueError
        If the members differ in cells or classes, or the last class is not "none".
    """
    first = members[0].config
    for member in members:
        if member.config.cells != first.cells or member.config.outputs != first.outputs:
            raise ValueError("members must have the same cells and classes")
    if first.outputs[-1] != NONE:
        raise ValueError(f"the last class must be {NONE!r}, got {first.outputs}")
    none = len(first.outputs) - 1
    members = [_rounded(member) for member in members]
    logits = ensemble_logits(_member_logits(members, held_out[0]))
    temperature = _temperature(logits, held_out[1])
    inside = held_out[1] != none
    known = training[1] != none
    densities = tuple(
        fit_density(layer_features(member, training[0][known], layers=[_LAYER]), training[1][known])
        for member in members
    )
    spoken = _none_score(logits[inside])
    far = _distance(members, densities, held_out[0][inside])
    none_scale, density_scale = _scale(spoken), _scale(far)
    alarm = fit_alarm(np.maximum(none_scale(spoken), density_scale(far)), false_alarm_rate=false_alarm_rate)
    return Jury(
        tuple(members),
        temperature,
        densities,
        none_scale,
        density_scale,
        alarm,
        plain(description, name="description"),
        None if parts is None else _parts_scale(members, *parts, none=none),
    )


def hear(
    jury: Jury, counts: npt.NDArray[np.floating[Any]], seen: npt.NDArray[np.bool_], *, required: float = 0.95
) -> tuple[Verdict, ...]:
    """The verdict on each of several measurements.

    Parameters
    ----------
    counts : (n, cells, p, p). seen : bool of that shape, or of one measurement. What is seen must be finite; a measurement that
        is not, or of which nothing is seen, is none of the models.
    required : probability that an answer needs; below it the answer is "cannot tell".
    """
    values = np.asarray(counts, dtype=np.float32)
    mask = np.broadcast_to(np.asarray(seen, dtype=bool), values.shape)
    heard = np.array([bool(m.any() and np.isfinite(v[m]).all()) for v, m in zip(values, mask, strict=True)], dtype=bool)
    probabilities = np.full((len(values), len(jury.classes)), np.nan)
    score = np.full(len(values), np.nan)
    if heard.any():
        inputs = network_view(np.where(mask, values, np.float32(0.0))[heard], mask[heard])
        logits = ensemble_logits(_member_logits(jury.members, inputs))
        probabilities[heard] = calibrated(logits, temperature=jury.temperature)
        whole = _is_whole(mask[heard])
        spoken = _none_score(logits)
        strange = np.where(whole, jury.none_scale(spoken), (jury.parts_scale or jury.none_scale)(spoken))
        if whole.any():
            far = jury.density_scale(_distance(jury.members, jury.densities, inputs[whole]))
            strange[whole] = np.maximum(strange[whole], far)
        score[heard] = strange
    return judge(probabilities, jury.classes, scores=score, alarm=jury.alarm, required=required)


def member_probabilities(
    jury: Jury, counts: npt.NDArray[np.floating[Any]], seen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """(members, n, classes) float64. What each member says by itself, not calibrated; arguments as in `hear`."""
    mask = np.broadcast_to(np.asarray(seen, dtype=bool), np.shape(counts))
    logits = _member_logits(jury.members, network_view(counts, mask))
    return np.stack([calibrated(one, temperature=1.0) for one in logits])


def save_jury(path: Path | str, jury: Jury, *, histories: Sequence[Sequence[Epoch]] = ()) -> None:
    """Writes a jury to one file of tensors, numbers and text: complete, or as it was before."""
    past = list(histories) or [()] * len(jury.members)
    content = {
        "format": _FORMAT,
        "members": [_compact(packed(member, None, one, None)) for member, one in zip(jury.members, past, strict=True)],
        "temperature": jury.temperature,
        "densities": [_density_content(one) for one in jury.densities],
        "scales": [[one.centre, one.spread] for one in _scales(jury)],
        "alarm": {
            "false_alarm_rate": jury.alarm.false_alarm_rate,
            "held_out": torch.from_numpy(np.array(jury.alarm.held_out)),
        },
        "description": plain(jury.description, name="description"),
        "versions": versions(),
    }
    write_torch_file(path, content)


def load_jury(path: Path | str) -> Jury:
    """The jury in a file of `save_jury`.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, it is damaged, or something else.
    """
    content = read_torch_file(path, formats=(_FORMAT,), kind="a jury of insdl")
    try:
        members = [unpacked(member, path) for member in content["members"]]
        held_out = content["alarm"]["held_out"].numpy()
        none_scale, density_scale, *others = (Scale(*one) for one in content["scales"])
        return Jury(
            tuple(_classifier(member) for member in members),
            float(content["temperature"]),
            tuple(_density(one) for one in content["densities"]),
            none_scale,
            density_scale,
            fit_alarm(held_out, false_alarm_rate=content["alarm"]["false_alarm_rate"]),
            content["description"],
            others[0] if others else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a jury of insdl: {error}") from error


def _rounded(member: CellSetClassifier) -> CellSetClassifier:
    """A copy with weights as half precision has them; biases and statistics stay."""
    copy = deepcopy(member)
    with torch.no_grad():
        for weight in copy.parameters():
            if weight.ndim > 1:
                weight.copy_(weight.half())
    return copy


def _compact(member: dict[str, Any]) -> dict[str, Any]:
    """A packed network with those tensors in half precision that lose nothing by it; reading turns them back."""
    state = {}
    for name, value in member["state"].items():
        half = value.half() if value.is_floating_point() else value
        state[name] = half if torch.equal(half.to(value.dtype), value) else value
    return {**member, "state": state}


def _scales(jury: Jury) -> list[Scale]:
    both = [jury.none_scale, jury.density_scale]
    return both if jury.parts_scale is None else [*both, jury.parts_scale]


def _classifier(member: Checkpoint) -> CellSetClassifier:
    if not isinstance(member.network, CellSetClassifier):
        raise TypeError(f"a member is a {type(member.network).__name__}")
    return member.network


def _member_logits(members: Sequence[nn.Module], inputs: _Singles) -> _Reals:
    return np.stack([outputs(member, inputs, batch_size=64).double().numpy() for member in members])


def _none_score(logits: _Reals) -> _Reals:
    """log P(none) - log P(any of the others)."""
    others = np.logaddexp.reduce(logits[:, :-1], axis=1)
    return np.asarray(logits[:, -1] - others)


def _is_whole(seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Of which of the measurements, (n, cells, p, p), hardly a cell is missing."""
    return np.asarray(seen.any(axis=(2, 3)).mean(axis=1) >= _WHOLE)


def _parts_scale(
    members: Sequence[CellSetClassifier], inputs: _Singles, labels: npt.NDArray[np.int64], *, none: int
) -> Scale | None:
    middle = inputs.shape[1] // 2
    chosen = ~_is_whole(inputs[:, middle:] > 0) & (labels != none)
    if chosen.sum() < _FEW:
        return None
    return _scale(_none_score(ensemble_logits(_member_logits(members, inputs[chosen]))))


def _distance(members: Sequence[nn.Module], densities: Sequence[FeatureDensity], inputs: _Singles) -> _Reals:
    """Mean over the members of the log of the Mahalanobis distance."""
    found = [
        np.log(strangeness(density, layer_features(member, inputs, layers=[_LAYER])))
        for member, density in zip(members, densities, strict=True)
    ]
    return np.asarray(np.mean(found, axis=0))


def _temperature(logits: _Reals, labels: npt.NDArray[np.int64]) -> float:
    """With labels taken for certain, whose mistakes say how sure to be; smoothed where there are too few mistakes for that.

    Smoothed targets allow n images without a mistake no more than P = (n + 1) / (n + classes) on average: too modest for a
    jury that is better than that, but safe.
    """
    mistakes = int((logits.argmax(axis=1) != labels).sum())
    return fit_temperature(logits, labels, targets="hard" if mistakes >= _MISTAKES else "smoothed").temperature


def _scale(scores: _Reals) -> Scale:
    centre, high = np.quantile(scores, [0.5, 0.99])
    return Scale(float(centre), float(max(high - centre, 1e-12)))


def _density_content(density: FeatureDensity) -> dict[str, Any]:
    arrays = {
        name: torch.from_numpy(np.array(getattr(density, name)))
        for name in ("centre", "scale", "means", "whitening", "background", "training")
    }
    plain_values = {name: getattr(density, name) for name in ("method", "neighbours")}
    return {**arrays, **plain_values, "shrinkage": list(density.shrinkage)}


def _density(content: Mapping[str, Any]) -> FeatureDensity:
    values: dict[str, Any] = {
        name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in content.items()
    }
    values["shrinkage"] = tuple(values["shrinkage"])
    return FeatureDensity(**values)
