"""The public PCSMO measurement: where it is looked for, and how it is fetched.

Source: the repository of Butler, Le, Thiyagalingam, Perring, J. Phys.: Condens. Matter 33, 194006 (2021),
keeeto/interpretable-ml-neutron-spectroscopy (BSD 3-Clause), at a fixed commit. insdl does not carry the files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_COMMIT = "f67032ed159a7d4ce1a94f5276e868fec0a99eab"
BASE_URL = f"https://raw.githubusercontent.com/keeeto/interpretable-ml-neutron-spectroscopy/{_COMMIT}/"

PCSMO_FILES = {
    "measured.npy": (
        "models/section_4-2/unnorm-expt-clipped-120.npy",
        "30dc045bf224c7c7ec42353ff091ef2176bda0e164e4f00d4f7d6fcc9e64d55e",
    ),
    "detector_mask.mat": (
        "data_generation/brille/nanmask.mat",
        "c37e76253828e8a10c903206446756828c821a31b6aea5c22da90225af2d3e62",
    ),
}
"""Local name: (path in the repository, SHA-256)."""


def data_folders() -> list[Path]:
    """Folders that may hold measured data, first choice first: INSDL_DATA, then the user's cache."""
    folders = [Path(value)] if (value := os.environ.get("INSDL_DATA")) else []
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [*folders, cache / "insdl"]


def find_pcsmo(folders: Sequence[Path] | None = None) -> Path | None:
    """The folder pcsmo/ that holds all of `PCSMO_FILES`, or None."""
    for folder in data_folders() if folders is None else folders:
        if all((folder / "pcsmo" / name).is_file() for name in PCSMO_FILES):
            return folder / "pcsmo"
    return None


def fetch_pcsmo() -> Path:
    """The folder with the measurement: found locally, or downloaded to the user's cache and checked.

    Raises
    ------
    ValueError
        If a local file has another SHA-256 than the published one.
    OSError
        If the download fails.
    """
    import pooch

    folder = find_pcsmo()
    if folder is None:
        folder = data_folders()[-1] / "pcsmo"
        for name, (path, digest) in PCSMO_FILES.items():
            try:
                pooch.retrieve(BASE_URL + path, known_hash=f"sha256:{digest}", fname=name, path=folder)
            except Exception as error:  # requests' errors are many; say which file
                raise OSError(f"could not download {name} from {BASE_URL + path}: {error}") from error
    for name, (_, digest) in PCSMO_FILES.items():
        found = pooch.file_hash(str(folder / name), alg="sha256")
        if found != digest:
            raise ValueError(f"{folder / name} has SHA-256 {found}, expected {digest}")
    return folder
