"""What holds for every file that the repository carries."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import insdl

ROOT = Path(__file__).parents[1]
SOURCES = {".py", ".pyi", ".cpp", ".hpp", ".txt", ".md", ".toml", ".yaml", ".cff", ""}
BINARY = {".png", ".pt"}
LARGEST = 1_000_000  # bytes; the reference magnets are the largest files
PRETRAINED = ROOT / "python" / "insdl" / "pretrained"  # networks that the project's own commands made
LARGEST_PRETRAINED = 5_000_000  # bytes
# Where the words may point: papers, the data's public home, formats. Anything else is a slip.
HOSTS = {"doi.org", "arxiv.org", "github.com", "raw.githubusercontent.com", "keepachangelog.com", "semver.org"}


def tracked() -> list[Path]:
    """What git carries or would carry."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return []
    return sorted(path for entry in done.stdout.split("\0") if entry and (path := ROOT / entry).is_file())


FILES = tracked()
TEXTS = [path for path in FILES if path.suffix not in BINARY]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _size(path: Path) -> int:
    return path.stat().st_size


@pytest.fixture(autouse=True)
def _in_a_git_checkout() -> None:
    if not FILES:
        pytest.skip("not a git checkout: what belongs to the project is not known")


def test_files_stay_short() -> None:
    long = {
        name(path): n for path in TEXTS if path.suffix in SOURCES and (n := path.read_text("utf-8").count("\n")) > 600
    }
    assert not long


def test_files_are_small_and_hold_no_measured_data() -> None:
    pretrained = [path for path in FILES if path.parent == PRETRAINED and path.suffix == ".pt"]
    large = {name(path): _size(path) for path in set(FILES).difference(pretrained) if _size(path) > LARGEST}
    assert not large
    assert not {name(path): _size(path) for path in pretrained if _size(path) > LARGEST_PRETRAINED}
    kinds = {".npy", ".npz", ".mat", ".h5", ".nxs", ".nxspe", ".pt"}
    assert not [name(path) for path in FILES if path.suffix in kinds and path not in pretrained]


def test_texts_are_clean() -> None:
    """UTF-8, Unix line ends, no trailing blanks, a newline at the end, no merge marks."""
    for path in TEXTS:
        text = path.read_bytes().decode("utf-8")
        assert "\r" not in text, name(path)
        assert not text or text.endswith("\n") or path.suffix == ".json", f"{name(path)} does not end with a newline"
        bad = re.search(r"^(<{7} |>{7} |={7}$)|[ \t]+$", text, re.MULTILINE)
        assert bad is None, f"{name(path)}: line {text.count(chr(10), 0, bad.start()) + 1}"


def test_no_word_of_the_place_it_was_written_in() -> None:
    """No absolute path of a workplace or a home, no temporary folder, no address of a machine or of a private registry."""
    # Written apart, so that this file passes its own test.
    halves = "/wo rk/", "/ho me/", "/ro ot/", "/t mp/", "/opt /py", "local host", "index -url", "artifac tory"
    here = [half.replace(" ", "") for half in halves]
    address = re.compile(r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b")
    for path in TEXTS:
        text = path.read_text("utf-8")
        found = [word for word in here if word in text] + address.findall(text)
        assert not found, f"{name(path)} holds {found}"


def test_links_lead_to_public_places() -> None:
    for path in TEXTS:
        for link in re.findall(r"https?://[^\s\"')>]+", path.read_text("utf-8")):
            host = urlsplit(link).hostname
            assert host in HOSTS, f"{name(path)} points at {host}; add it to HOSTS if it belongs there"


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    cited = re.search(r"^version: (\S+)$", citation, re.MULTILINE)
    newest = re.search(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert cited is not None
    assert newest is not None
    assert project["version"] == insdl.__version__ == cited[1] == newest[1]
    assert f"license: {project['license']}" in citation


def test_torch_is_pinned() -> None:
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=["check", "format"])
def test_ruff_is_content(arguments: list[str]) -> None:
    ruff = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
    done = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
