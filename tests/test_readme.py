"""README and documentation: what they show is what runs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from insdl.cli import main
from insdl.measured_data import find_pcsmo

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text("utf-8")]

BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[str, str, int]]:
    """(what follows the language, text, first line) of each fenced block."""
    text = page.read_text("utf-8")
    return [(m[2].strip(), m[3], text.count("\n", 0, m.start(3))) for m in BLOCK.finditer(text) if m[1] == language]


def command(kind: str) -> str:
    found = re.findall(rf"^<!-- command: {kind} -->\n```sh\n(.*?)\n```$", README.read_text("utf-8"), re.M | re.S)
    assert len(found) == 1, f"README.md needs one block marked '<!-- command: {kind} -->'"
    return str(found[0])


def test_ci_runs_the_test_command_of_the_readme() -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    done = subprocess.run([ROOT / ".ci" / "run", "--print"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == command("tests")


@pytest.mark.parametrize("kind", ["job", "tests"])
def test_commands_are_one_line_and_complete(kind: str) -> None:
    """Each makes its own environment and pins torch: it can be copied onto a fresh machine."""
    line = command(kind)
    assert "\n" not in line
    environment = re.match(r"python3 -m venv (\S+) && ", line)
    assert environment is not None
    for part in line.split(" && ")[1:]:
        assert part.startswith(f"{environment[1]}/bin/")
    assert "pip install -c constraints.txt '.[" in line


def insdl_calls() -> list[tuple[str, str]]:
    calls = []
    for page in PAGES:
        for _, text, _ in blocks(page, "sh"):
            for line in re.split(r"\n|&&", text):
                call = re.match(r"\s*(?:\S+/)?insdl (.*)", line)
                if call:
                    calls.append((name(page), call[1]))
    return calls


@pytest.mark.parametrize(("page", "call"), insdl_calls())
def test_every_call_of_insdl_is_understood(page: str, call: str) -> None:
    """Commands and options exist and their values are read; nothing is run."""
    words = shlex.split(re.sub(r'"\$\(.*?\)"', "somewhere.npy", re.sub(r" > \S+$", "", call)))
    job = main.commands[words[0]]
    if "--help" in words:
        return
    with click.Context(main) as parent:
        context = job.make_context(words[0], words[1:], parent=parent)
        if isinstance(job, click.Group):
            job.commands[words[1]].make_context(words[1], words[2:], parent=context)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_python_blocks_run(page: Path) -> None:
    """One after the other in one namespace, as a reader would."""
    namespace: dict[str, object] = {"__name__": "page"}
    for info, text, line in blocks(page, "python"):
        if info == "needs-the-measurement" and find_pcsmo() is None:
            continue
        assert info in ("", "needs-the-measurement"), f"{name(page)}: unknown mark {info!r}"
        exec(compile("\n" * line + text, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"), re.S):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{name(page)} points at {target}"


def test_pictures_are_made_and_used() -> None:
    """Each picture in docs/pictures has its function, is shown somewhere, and is small."""
    makers = (ROOT / "docs" / "make_pictures.py", ROOT / "bench" / "figure.py")
    maker = "".join(path.read_text("utf-8") for path in makers)
    shown = "".join(page.read_text("utf-8") for page in PAGES)
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert pictures
    for picture in pictures:
        assert f"def {picture.stem.replace('-', '_')}(" in maker
        assert f"pictures/{picture.name})" in shown
        assert picture.stat().st_size < 300_000
