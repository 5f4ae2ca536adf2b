"""How far to believe a jury's probabilities: new simulated measurements, with simple methods beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from insdl.learn.jury import Jury
    from insdl.learn.reliability import CalibrationError, ReliabilityDiagram
    from insdl.learn.rival_baselines import BaselineAnswer

_BLOCK = 40


@dataclass(frozen=True, eq=False)
class Belief:
    """What came out on simulated measurements whose answer is known.

    Attributes
    ----------
    asked, learned : measurements that all were asked about, and that the simple methods learned from.
    accuracy : of the jury's most probable class. sure, wrong : shares with an answer, and with a wrong one.
    diagram, error : reliability of the most probable class.
    baselines : simple methods, with what they say about the measurement in question.
    """

    asked: int
    learned: int
    accuracy: float
    sure: float
    wrong: float
    diagram: ReliabilityDiagram
    error: CalibrationError
    baselines: tuple[BaselineAnswer, ...]


def jury_belief(
    jury: Jury,
    counts: npt.NDArray[np.float64],
    seen: npt.NDArray[np.bool_],
    *,
    required: float,
    asked: int = 320,
    learned: int = 640,
    threads: int | None = None,
) -> Belief:
    """The jury and simple methods on new simulations of the jury's own configuration ("none" included).

    Parameters
    ----------
    counts, seen : (n_bins, n_h, n_k). The measurement that the simple methods are asked about, too.
    asked, learned : numbers of simulated measurements, see `Belief`.

    Raises
    ------
    ValueError
        If the jury's classes are not those of its configuration and "none".
    """
    from insdl.dataset.configuration import configuration, load_configuration
    from insdl.dataset.configured import ConfiguredSource
    from insdl.dataset.foreign import SourceWithForeign
    from insdl.dataset.reader import SourceReader, detected, good
    from insdl.dataset.view import ViewedDetection, network_view
    from insdl.learn.jury import hear
    from insdl.learn.reliability import calibration_error, reliability_diagram
    from insdl.learn.rival_baselines import baseline_answers
    from insdl.learn.scores import check_probabilities

    content = jury.description.get("configuration")
    plain = load_configuration("pcsmo") if content is None else configuration(content)
    total = asked + learned
    source = SourceWithForeign(
        ConfiguredSource(plain.model_copy(update={"stream": "report calibration", "n_samples": total}))
    )
    if source.classes != jury.classes:
        raise ValueError(f"the jury's classes must be {source.classes}, got {jury.classes}")
    reader, detect = SourceReader(source, threads=threads), ViewedDetection(source.base)
    inputs, labels = [], []
    for begin in range(0, total, _BLOCK):
        indices = range(begin, min(begin + _BLOCK, total))
        samples, numbers = good(reader.read(indices), indices)
        inputs.append(detected(samples.images, numbers, detect, seed=source.seed, stream="report calibration"))
        labels.append(samples.labels)
    views, true = np.concatenate(inputs), np.concatenate(labels)
    cells = views.shape[1] // 2
    held = np.arange(len(views)) >= learned
    heard = hear(jury, np.sinh(views[held, :cells]), views[held, cells:] > 0, required=required)
    probabilities = check_probabilities([[one.probability[name] for name in jury.classes] for one in heard])
    said = np.array([jury.classes.index(one.answer) if one.answer in jury.classes else -1 for one in heard])
    none = jury.classes.index("none")
    said[[one.answer == "none of these models" for one in heard]] = none
    baselines = baseline_answers(
        (views[~held], true[~held]), (views[held], true[held]), network_view(counts, seen)[None],
        classes=len(jury.classes),
    )  # fmt: skip
    return Belief(
        asked=int(held.sum()),
        learned=int((~held).sum()),
        accuracy=float((probabilities.argmax(axis=1) == true[held]).mean()),
        sure=float((said >= 0).mean()),
        wrong=float(((said >= 0) & (said != true[held])).mean()),
        diagram=reliability_diagram(probabilities, true[held], bins=10),
        error=calibration_error(probabilities, true[held], bins=10),
        baselines=baselines,
    )


def belief_entry(belief: Belief, classes: tuple[str, ...]) -> dict[str, Any]:
    """As plain values."""
    return {
        "simulated": belief.asked,
        "accuracy": belief.accuracy,
        "answered": belief.sure,
        "answered_wrongly": belief.wrong,
        "calibration_error": belief.error.value,
        "calibration_error_by_chance": belief.error.floor,
        "baselines": {
            one.name: {
                "learned_from": belief.learned,
                "accuracy": one.accuracy,
                "log_loss": one.log_loss,
                "probability": dict(zip(classes, one.probabilities[0].tolist(), strict=True)),
            }
            for one in belief.baselines
        },
    }
