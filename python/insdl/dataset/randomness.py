"""Random numbers that depend on (seed, stream, index, attempt) alone, however the work is split."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, stream: str, index: int, *, attempt: int = 0) -> np.random.Generator:
    """A generator of its own for sample ``index`` of a named stream.

    Parameters
    ----------
    seed : int, not negative.
    stream : str. What the numbers are for, such as ``"train/parameters"``; streams are independent.
    index, attempt : int, not negative. The sample, and how often it has been drawn again.

    Notes
    -----
    Philox-4x64 (Salmon et al., SC'11, doi:10.1145/2063384.2063405): the key holds seed and stream, the upper half of the
    256-bit counter index and attempt, so that every sample has 2^128 blocks of its own.
    """
    if min(seed, index, attempt) < 0:
        raise ValueError(f"seed, index and attempt must not be negative, got {seed}, {index}, {attempt}")
    words = np.frombuffer(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:16], dtype=np.uint64)
    counter = np.array([0, 0, attempt, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=words, counter=counter))
