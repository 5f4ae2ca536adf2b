"""What a command says when it cannot go on: one sentence, and never a traceback for bad input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

_OPTIONAL = {
    "torch": "all", "matplotlib": "all", "scipy": "all", "pooch": "all", "h5py": "dataset", "pydantic": "dataset",
    "yaml": "dataset", "dask": "cluster", "distributed": "cluster",
    "captum": "explain", "openTSNE": "explain",
}  # fmt: skip


def guarded(job: Callable[[], Any], *, interrupted: str = "interrupted; nothing was written") -> Any:
    """Runs a job; bad input becomes one sentence and exit code 2, Ctrl-C the sentence ``interrupted`` and 130."""
    try:
        return job()
    except KeyboardInterrupt:
        click.echo(f"insdl: {interrupted}", err=True)
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _OPTIONAL:
            raise
        fail(RuntimeError(f"this command needs {package}: install 'insdl[{_OPTIONAL[package]}]'"))
    except (ValueError, TypeError, OSError) as error:
        fail(error)


def fail(error: BaseException) -> NoReturn:
    """Says what is wrong and ends with exit code 2."""
    click.echo(f"insdl: {error}", err=True)
    sys.exit(2)
