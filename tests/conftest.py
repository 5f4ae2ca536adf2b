"""What several test files share: the real measurement, where it lies on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from insdl.measured_data import data_folders, find_pcsmo


@pytest.fixture(scope="session")
def pcsmo_measurement() -> Path:
    """The folder with measured.npy and detector_mask.mat."""
    folder = find_pcsmo()
    if folder is None:
        looked = " or ".join(str(place / "pcsmo") for place in data_folders())
        pytest.skip(
            "THE REAL MEASUREMENT IS NOT TESTED: no measured.npy and detector_mask.mat in "
            f"{looked}. To run this: set INSDL_DATA to a folder that holds pcsmo/, "
            "or download it with insdl.measured_data.fetch_pcsmo()"
        )
    return folder
