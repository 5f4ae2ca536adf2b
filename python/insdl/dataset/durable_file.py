"""Files that are complete or not there, whatever kills the writer."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_PARTIAL = re.compile(r"^\.(?P<name>.+)\.(?P<host>[^.]+)\.(?P<process>\d+)\.(?P<thread>\d+)\.partial$")
_ABANDONED = 86_400.0  # seconds without a change after which another machine's partial file is taken for dead


def write_durably(path: Path, data: bytes) -> None:
    """Puts ``data`` at ``path``: written beside it under a name of the writer's own, flushed to disk, renamed.

    A reader sees the old file or the new one, also after a power cut. Several writers do not disturb each other: the
    last rename wins.

    Raises
    ------
    OSError
        If the disk is full or the folder not writable; nothing is left behind then.
    """
    with _partial(path, data) as partial:
        os.replace(partial, path)
    _flush_folder(path.parent)


def write_first(path: Path, data: bytes) -> None:
    """As `write_durably`, but leaves a file that is there already as it is: of several writers the first wins."""
    with _partial(path, data) as partial, contextlib.suppress(FileExistsError):
        os.link(partial, path)
    _flush_folder(path.parent)


@contextlib.contextmanager
def _partial(path: Path, data: bytes) -> Iterator[Path]:
    """``data`` on disk beside ``path``, under a name that no other process or thread uses; gone afterwards."""
    partial = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> int:
    """Removes what killed writers left under ``folder``, at any depth, and returns how many files that were.

    A partial file is abandoned if its process on this machine is gone, or if it has not been touched for a day.
    """
    removed = 0
    for path in folder.rglob(".*.partial"):
        writer = _PARTIAL.match(path.name)
        if writer is not None and _is_abandoned(path, writer["host"], int(writer["process"])):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_abandoned(path: Path, host: str, process: int) -> bool:
    if host == _host() and not _is_alive(process):
        return True
    try:  # also here: the number may be that of another process by now
        return time.time() - path.stat().st_mtime > _ABANDONED
    except FileNotFoundError:
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie: killed, but nobody has asked how it ended
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return True


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "unknown"


def _flush_folder(folder: Path) -> None:
    """Makes renames in a folder survive a power cut, where the system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems flush files only
        pass
    finally:
        os.close(handle)
