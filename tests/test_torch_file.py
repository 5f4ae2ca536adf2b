"""Sealed files: the digest sees every change, and files come back as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from insdl.learn.torch_file import digest, plain, read_torch_file, write_torch_file

CONTENT: dict[str, Any] = {
    "format": "test 1",
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3), "none": torch.zeros(0)},
    "numbers": [1, 2.5, None, True, "text"],
}


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    write_torch_file(tmp_path / "file", CONTENT)
    found = read_torch_file(tmp_path / "file", formats=("test 1",), kind="a test")
    assert digest(found) == digest(CONTENT)
    assert torch.equal(found["weights"]["a"], CONTENT["weights"]["a"])
    assert found["numbers"] == CONTENT["numbers"]


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {**CONTENT["weights"], "a": CONTENT["weights"]["a"] + 1e-6}},
        {"weights": {**CONTENT["weights"], "a": CONTENT["weights"]["a"].reshape(3, 2)}},
        {"weights": {**CONTENT["weights"], "a": CONTENT["weights"]["a"].double()}},
        {"weights": {"b" if name == "a" else name: value for name, value in CONTENT["weights"].items()}},
        {"numbers": [1, 2.5, None, 1, "text"]},
        {"numbers": [1, 2.5, None, True, "texT"]},
        {"numbers": [1, 2.5, None, True, ["text"]]},
    ],
)
def test_every_change_changes_the_digest(change: dict[str, Any], tmp_path: Path) -> None:
    assert digest({**CONTENT, **change}) != digest(CONTENT)
    torch.save({**CONTENT, **change, "digest": digest(CONTENT)}, tmp_path / "file")
    with pytest.raises(ValueError, match="is damaged: its content does not fit its digest"):
        read_torch_file(tmp_path / "file", formats=("test 1",), kind="a test")


def test_digests_do_not_depend_on_memory_layout() -> None:
    """A transposed view, bfloat16, and a tensor with a gradient."""
    values = torch.rand(3, 4)
    assert digest(values.T) == digest(values.T.contiguous()) != digest(values)
    assert digest(values.bfloat16()) != digest(values.half())
    assert digest(values.clone().requires_grad_(True)) == digest(values)


def test_what_json_cannot_hold_is_refused() -> None:
    assert plain({"a": (1, 2)}, name="description") == {"a": [1, 2]}
    with pytest.raises(ValueError, match="description must hold only what JSON can"):
        plain({"a": object()}, name="description")
