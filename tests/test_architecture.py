"""The shape of the house: who may import whom, what `import insdl` loads, and how long files get."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import insdl

ROOT = Path(insdl.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

# From left to right: a room may import its own and those before it, never those behind it.
ORDER = (
    ("units", "errors", "instruction_set", "crystal", "folding", "form_factor", "provenance", "measured_data"),
    ("model",),
    ("model_file", "spinwave", "ground_state", "mirrors"),
    ("materials",),
    ("instrument", "measured"),
    ("dataset",),
    ("learn",),
    ("explain",),
    ("guide",),
    ("commands", "cli", "report", "plot", "plot_explain", "plot_guide", "plot_predict"),
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
# A model's own doors to what is worked out from it, opened when called.
DOORS = {("model", "spinwave"), ("model", "model_file")}
TORCH_ROOMS = {"learn", "explain", "guide", "commands"}


def room(path: Path) -> str:
    """The file's or folder's name right below the package; empty for insdl/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "" if parts[0] == "__init__" else parts[0]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported name in full, and whether it is imported with the file (not in a function, nor for types)."""
    tree = ast.parse(path.read_text())
    deferred: set[ast.AST] = set()
    for node in ast.walk(tree):
        types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            deferred.update(child for child in ast.walk(node) if child is not node)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, node not in deferred


def test_every_file_has_a_room() -> None:
    unknown = {room(path) for path in SOURCES} - set(RANK) - {""}
    assert not unknown, f"give these a place in ORDER: {sorted(unknown)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_import_what_stands_before_them(path: Path) -> None:
    own = room(path)
    if own == "":
        return
    for name, at_import in imports(path):
        parts = name.split(".")
        if parts[0] != "insdl" or len(parts) < 2 or parts[1] == "_core":
            continue
        assert parts[1] in RANK, f"{path} imports {name} from the package's front door, not from its room"
        allowed = RANK[parts[1]] <= RANK[own] or (not at_import and (own, parts[1]) in DOORS)
        assert allowed, f"{own} must not import {name}, which stands behind it"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_learning_rooms_import_torch(path: Path) -> None:
    loaded = {name.split(".")[0] for name, at_import in imports(path) if at_import}
    assert "torch" not in loaded or room(path) in TORCH_ROOMS
    assert not loaded & {"scipy", "matplotlib", "captum", "openTSNE", "pooch", "periodictable"}, (
        "import it where it is used"
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 600


@pytest.mark.parametrize("module", ["insdl", "insdl.dataset.pcsmo", "insdl.cli"])
def test_import_is_light(module: str) -> None:
    """Neither torch nor anything else that is slow to load, and no thread is started."""
    script = f"""
import sys, threading
import {module}
print(sorted({{"torch", "scipy", "matplotlib", "captum", "pandas", "pooch"}} & set(sys.modules)))
print(threading.active_count())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[]", "1"]


def test_import_starts_no_native_threads() -> None:
    """As many operating-system threads after importing insdl as after importing NumPy."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("threads are counted in /proc")
    script = """
import os
import numpy
before = len(os.listdir("/proc/self/task"))
import insdl
print(len(os.listdir("/proc/self/task")) - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "0", done.stderr
