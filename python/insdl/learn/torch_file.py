"""Files of tensors, numbers and text: complete or not there, sealed, and read without running code."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from insdl.dataset.durable_file import write_durably


def write_torch_file(path: Path | str, content: Mapping[str, Any]) -> None:
    """Writes a dictionary of tensors, numbers, text, lists and dictionaries, with a digest of all of it.

    After any interruption the file is the old one or the new one.
    """
    sealed = {**content, "digest": digest(content)}
    buffer = io.BytesIO()
    torch.save(sealed, buffer)
    write_durably(Path(path), buffer.getvalue())


def read_torch_file(path: Path | str, *, formats: tuple[str, ...], kind: str) -> dict[str, Any]:
    """The content of a file of `write_torch_file`, with its tensors on the CPU.

    Parameters
    ----------
    formats : what the entry "format" may say.
    kind : what the file is to be, for messages, such as "a checkpoint of insdl".

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If it is something else, cut short or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if not zipfile.is_zipfile(path):  # what torch.save writes
        raise ValueError(f"{path} is not {kind}: not a file of torch.save, or cut short")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what the bytes happen to provoke
        raise ValueError(f"{path} is not {kind}: torch cannot read it ({_first_line(error)})") from error
    if not isinstance(content, dict) or content.get("format") not in formats:
        raise ValueError(f"{path} is not {kind}: expected a dictionary of format {' or '.join(map(repr, formats))}")
    if "digest" in content and content.pop("digest") != digest(content):
        raise ValueError(f"{path} is damaged: its content does not fit its digest")
    return content


def digest(content: Any) -> str:
    """SHA-256 of nested dictionaries, lists and tuples of tensors, numbers and text, order included."""
    found = hashlib.sha256()
    _feed(found, content)
    return found.hexdigest()


def _feed(found: Any, content: Any) -> None:
    if isinstance(content, Tensor):
        array = content.detach().cpu().contiguous()
        found.update(f"tensor {array.dtype} {tuple(array.shape)}".encode())
        found.update(array.reshape(-1).view(torch.uint8).numpy())
    elif isinstance(content, Mapping):
        found.update(f"mapping {len(content)}".encode())
        for key, value in content.items():
            _feed(found, key)
            _feed(found, value)
    elif isinstance(content, list | tuple):
        found.update(f"sequence {len(content)}".encode())
        for value in content:
            _feed(found, value)
    else:
        found.update(f"{type(content).__name__} {content!r}\n".encode())


def plain(values: Mapping[str, Any] | None, *, name: str) -> dict[str, Any]:
    """A dictionary as JSON gives it back: dictionaries, lists, text, numbers; ValueError if JSON cannot hold it."""
    try:
        found: dict[str, Any] = json.loads(json.dumps({} if values is None else dict(values)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold only what JSON can: {error}") from error
    return found


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
