"""Fits as plain values, and what is said of them; on a small frame."""

from __future__ import annotations

import json

import pytest

from insdl.commands.predict_parameters import fit_entry
from insdl.commands.predict_words import fit_in_words, lines, with_error
from small_hypothesis import small_hypotheses, small_image


def test_fits_of_all_rivals_as_plain_values_and_in_words() -> None:
    counts, samples, source = small_image(0)
    truth = dict(zip(source.parameter_names, samples.parameters[0], strict=True))
    entry, fitted = fit_entry(small_hypotheses(), counts, source.detector.measured, threads=1)
    assert json.loads(json.dumps(entry)) == entry
    assert entry["best"] == "goodenough"
    assert entry["pixels"] == fitted.used.sum()
    assert entry["log_evidence_ratio"]["dimer"] > 0
    own = entry["models"]["goodenough"]
    assert own["values"]["JF3"]["value"] == pytest.approx(truth["JF3"], abs=4 * own["values"]["JF3"]["error"])
    assert own["values"]["JF3"]["word"] in ("measured", "weak", "this is your prior")
    assert "width_factor" in own["instrument"]
    assert "word" not in entry["models"]["dimer"]["values"]["JFS"]  # not drawn as such
    said = fit_in_words(entry)
    assert said[0].startswith(
        f"By the likelihood of {entry['pixels']} pixels: goodenough, in log-evidence before dimer by "
    )
    assert said[1].startswith("Fitted, for goodenough, errors of counting alone: JF1 -")
    verdict = {"image": 0, "verdict": "goodenough", "probability": {"goodenough": 1.0}, "reason": "so it is"}
    assert lines({**verdict, "parameters": None, "fit": entry}) == [
        "Image 0: goodenough (goodenough 1.0000). So it is.", *(f"  {line}" for line in said)
    ]  # fmt: skip


def test_a_networks_answer_is_where_its_model_begins() -> None:
    counts, samples, source = small_image(0)
    truth = dict(zip(source.parameter_names, samples.parameters[0].tolist(), strict=True))
    start = {name: truth[name] for name in ("JA", "Jperp", "D", "JF2", "JF3")}
    start["JF"] = truth["JF1"] + 0.5 * (truth["JF2"] + truth["JF3"])
    goodenough = small_hypotheses()[:1]
    begun, _ = fit_entry(goodenough, counts, source.detector.measured, start=start, threads=1)
    plain, _ = fit_entry(goodenough, counts, source.detector.measured, threads=1)
    ours, other = (one["models"]["goodenough"] for one in (begun, plain))
    assert ours["log_evidence"] == pytest.approx(other["log_evidence"], abs=0.5)
    assert begun["log_evidence_ratio"] == {}


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (-11.1034, 0.0312, "-11.103 ± 0.031"),
        (1.38, 0.0996, "1.38 ± 0.10"),
        (123.4, 25.0, "123 ± 25"),
        (1.0, 0.0, "1.00 ± 0.00"),
    ],
)
def test_values_have_two_digits_of_their_error(value: float, error: float, said: str) -> None:
    assert with_error(value, error) == said
