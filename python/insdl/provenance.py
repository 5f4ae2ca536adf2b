"""What made a result: versions, machine, and files that are complete or not there."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any


def versions() -> dict[str, str]:
    """Versions of insdl, Python and the libraries that results depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for name in ("insdl", "numpy", "torch", "scipy", "periodictable", "matplotlib"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files move into ``folder`` when the block ends well; otherwise nothing is left.

    Files of the same name that were there are replaced one by one, each atomically.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a folder is needed")
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield work
        folder.mkdir(exist_ok=True)
        for file in sorted(work.iterdir(), key=lambda f: f.name == "result.json"):  # the result last
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Readable JSON; NaN is refused."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
