"""Files damaged on purpose: what a reader makes of them must be a sentence, or a correct read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from insdl.dataset.randomness import generator


def truncated(content: bytes, *, number: int = 50) -> Iterator[bytes]:
    """The content cut off at ``number`` places from the front to the last byte."""
    for end in sorted(set(np.linspace(0, len(content) - 1, number).astype(int).tolist())):
        yield content[:end]


def flipped(content: bytes, *, number: int = 50, seed: int = 0) -> Iterator[bytes]:
    """The content with one byte replaced, half of the times within the first 300, where the headers are."""
    for index in range(number):
        rng = generator(seed, "tests/flipped", index)
        reach = min(300, len(content)) if index % 2 else len(content)
        place = int(rng.integers(reach))
        yield content[:place] + bytes([content[place] ^ int(rng.integers(1, 256))]) + content[place + 1 :]


def readings(read: Callable[[Path], object], good: Path, folder: Path, contents: Iterator[bytes]) -> list[str]:
    """For each content "read", or the sentence of the ValueError or OSError; any other exception comes through."""
    results = []
    for number, content in enumerate(contents):
        file = folder / f"damaged-{number}{good.suffix}"
        file.write_bytes(content)
        try:
            read(file)
        except (ValueError, OSError) as error:
            results.append(str(error))
        else:
            results.append("read")
        file.unlink()
    unclear = [sentence for sentence in results if not sentence or "\n" in sentence]
    assert not unclear, f"refused in no sentence, or in more than one: {unclear}"
    return results
