"""Which of the compiled instruction sets the kernel uses: the widest that the processor has, or INSDL_ISA."""

from __future__ import annotations

import os

from insdl import _core


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets that were built and that this processor has, the widest last: "baseline", "avx2", "avx512"."""
    return tuple(_core.instruction_sets())


def instruction_set() -> str:
    """The instruction set in use."""
    return _core.instruction_set()


def choose_instruction_set(name: str) -> None:
    """Use another instruction set from here on: for tests and benches, not beside a running computation.

    Raises
    ------
    ValueError
        For a name that is not in `instruction_sets`.
    """
    _core.choose_instruction_set(name)


def choose_from_environment() -> None:
    """The choice of the environment variable INSDL_ISA, made when insdl is imported."""
    wanted = os.environ.get("INSDL_ISA")
    if not wanted:
        return
    try:
        choose_instruction_set(wanted)
    except ValueError as error:
        raise ImportError(f"INSDL_ISA={wanted}: {error}") from None
