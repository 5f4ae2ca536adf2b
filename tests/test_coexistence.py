"""Beside torch: two users of OpenMP in one process, workers of a DataLoader, either import order.

The wheel of torch carries a copy of libgomp, and insdl was linked to the system's. Both bear the name libgomp.so.1, so
the loader keeps whichever comes first for both; a wheel of insdl with a copy of its own, under another name, makes it
two. Neither may matter: what is tested is that nothing hangs and that every bit of the results is the same.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the libgomp of Linux, and its fork"),
]

TIMEOUT = 100  # seconds; a process that needs more hangs (a few are enough, most of them for the import of torch)

# One script for all, also imported by the workers that are spawned; {imports} is the order.
SCRIPT = '''
import sys
{imports}
import magnets
import numpy as np
from insdl.instrument import EnergyBlock, ImageFrame, ImageSimulator
from insdl.materials import goodenough
from insdl.materials.pcsmo import LITERATURE

Q = np.random.default_rng(0).uniform(-1, 1, (3000, 3))
VALUES = dict(LITERATURE["goodenough"])


class Work(torch.utils.data.Dataset):
    """Entry n is a spectrum and an image, both asked for with two threads."""

    def __init__(self):
        self.model = insdl.SpinModel.from_dict(magnets.reference("A24"))
        self.simulator = simulator()

    def __len__(self):
        return 4

    def __getitem__(self, n):
        modes = self.model.modes((1 + 0.1 * n) * Q, threads=2)
        single = self.model.modes((1 + 0.1 * n) * Q, threads=2, precision="single")
        image = self.simulator.simulate(threads=2, **VALUES)
        return [torch.from_numpy(x) for x in (modes.energy, modes.intensity, single.energy, image)]


def simulator():
    block = EnergyBlock(np.array([[2.0, 9.0], [9.0, 18.0]]), 45.0, (0.8, -0.004, 1e-5), 0.03)
    return ImageSimulator(goodenough(), ImageFrame([block], np.linspace(-0.3, 0.6, 5), 2))


class Lazily(Work):
    """A simulator has no pickled form: a spawned worker makes its own."""

    def __init__(self):
        self.model = insdl.SpinModel.from_dict(magnets.reference("A24"))
        self.made = None

    @property
    def simulator(self):
        self.made = self.made or simulator()
        return self.made

    def __getstate__(self):
        return {{**self.__dict__, "made": None}}


def loaded(work, start):
    loader = torch.utils.data.DataLoader(
        work, batch_size=None, num_workers=2, multiprocessing_context=start, timeout=60
    )
    return list(loader)


def libraries():
    with open("/proc/self/maps") as maps:
        names = {{line.split()[-1] for line in maps if "libgomp" in line}}
    return sorted(names)


def torch_at_work():
    """A sum and a product large enough for torch to use two threads of its own."""
    torch.manual_seed(0)
    matrix = torch.randn(600, 600, dtype=torch.float64)
    return (matrix @ matrix).sum() + torch.exp(matrix).sum()


def same(actual, wanted):
    assert len(actual) == len(wanted)
    for one, other in zip(actual, wanted):
        assert all(torch.equal(a, b) for a, b in zip(one, other))


def main():
    start = sys.argv[1]
    torch.set_num_threads(2)
    work = Work() if start == "fork" else Lazily()
    before = torch_at_work()
    wanted = [work[n] for n in range(len(work))]  # the parent has used its threads, torch's and insdl's
    between = torch_at_work()
    assert all(torch.isfinite(x).all() for entry in wanted for x in entry)
    same(loaded(work, start), wanted)
    same([work[n] for n in range(len(work))], wanted)  # the parent's threads still work
    assert torch_at_work() == between == before
    print(*libraries(), sep="\\n")


if __name__ == "__main__":
    main()
'''
ORDERS = {
    "torch first": "import torch, torch.utils.data\nimport insdl",
    "insdl first": "import insdl\nimport torch, torch.utils.data",
}


def run(folder: Path, order: str, start: str) -> list[str]:
    """The paths of every libgomp that the process had mapped in the end."""
    script = folder / "script.py"
    script.write_text(SCRIPT.format(imports=ORDERS[order]))
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, "-W", "ignore", str(script), start]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("order", ORDERS)
def test_forked_workers(tmp_path: Path, order: str) -> None:
    """The parent uses threads, forks two workers that ask for threads too, and goes on: equal bits, no hang.

    Libgomp is there once if both use the name libgomp.so.1, else twice: never more, and never not at all.
    """
    libraries = run(tmp_path, order, "fork")
    plain = [path for path in libraries if Path(path).name.startswith("libgomp.so")]
    assert len(plain) <= 1, "the loader has mapped two libraries of one name"
    assert 1 <= len(libraries) <= 2


@pytest.mark.slow
def test_spawned_workers(tmp_path: Path) -> None:
    """Workers that start afresh and unpickle the model: the bits of the parent."""
    run(tmp_path, "torch first", "spawn")
