"""What the machine can do at most: arithmetic of one core, and memory bandwidth. Takes two seconds and a C++ compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from insdl.spinwave import thread_count


@dataclass(frozen=True)
class Roofline:
    """Measured limits of the machine.

    Attributes
    ----------
    double, single : GFLOP/s of one core by instruction set ("avx512", "avx2", "baseline"; those that the processor has),
        in multiply-adds, counted as two, that do not wait for one another.
    bandwidth_one, bandwidth_all : GB/s of a = b + factor * c from memory, three arrays counted, on one and on all threads.
    threads : what "all" is.
    """

    double: Mapping[str, float]
    single: Mapping[str, float]
    bandwidth_one: float
    bandwidth_all: float
    threads: int


def measure(threads: int | None = None) -> Roofline:
    """Compile ``roofline.cpp``, run it on ``threads`` (every processor for None), read what it says.

    Raises
    ------
    RuntimeError
        If there is no C++ compiler, $CXX or c++ or g++ or clang++.
    """
    compilers = filter(None, map(shutil.which, (os.environ.get("CXX") or "c++", "g++", "clang++")))
    compiler = next(compilers, None)
    if compiler is None:
        raise RuntimeError("measuring the roofline needs a C++ compiler: set CXX")
    count = thread_count(threads)
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "roofline")
        source = str(Path(__file__).with_suffix(".cpp"))
        subprocess.run([compiler, "-std=c++17", "-O3", "-pthread", "-o", program, source], check=True)
        lines = subprocess.run([program, str(count)], check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, dict[str, float]] = {"double": {}, "single": {}, "bandwidth": {}}
    for line in lines:
        name, value = line.split()
        group, key = name.split(".")
        found[group][key] = float(value)
    return Roofline(
        double=MappingProxyType(found["double"]),
        single=MappingProxyType(found["single"]),
        bandwidth_one=found["bandwidth"]["one"],
        bandwidth_all=found["bandwidth"]["all"],
        threads=count,
    )
