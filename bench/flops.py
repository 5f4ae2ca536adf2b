"""Floating-point operations that the kernel's algorithm needs for one q, to hold against the machine's peak.

Leading terms of Golub & Van Loan, Matrix Computations: a multiply-add counts as two, a complex one as eight. Only the
decompositions and the rows that they carry along: assembling the matrices, their phases, sorting, and what a lane does
while it waits for a slower one are not counted as work, so that a fraction of the peak is never flattered.
"""

from __future__ import annotations

ROTATIONS = 1.2
"""Plane rotations of implicit QL, in units of n^2: 2.4 sweeps of mean length n/2, counted for PCSMO and for random
matrices of 4 to 64 rows."""

_ROTATION = 19  # of d and e
_ROTATED_ROW = 6  # of one real row


def _ql(n: int, real_rows: int) -> float:
    return ROTATIONS * n**2 * (_ROTATION + _ROTATED_ROW * real_rows)


def split_flops(n: int, *, is_complex: bool, rows: int = 2) -> float:
    """N x N split form, N > 2, ``rows`` rows of amplitudes carried along (two of a collinear magnet, real in a real form).

    Cholesky n^3 / 3, congruence n^3, tridiagonalisation 4 n^3 / 3, rows (a factor each and the reflections) 3 n^2, all
    four times as much where they are complex, and QL.
    """
    weight = 4 if is_complex else 1
    return weight * (8 * n**3 / 3 + rows * 3 * n**2) + _ql(n, (2 if is_complex else 1) * rows)


def full_flops(n_sites: int, *, rows: int = 3) -> float:
    """2N x 2N full form, m = 2N: Cholesky 4 m^3 / 3, L' Sigma L 5 m^3 / 6, tridiagonalisation 16 m^3 / 3, rows, QL."""
    m = 2 * n_sites
    return 7.5 * m**3 + rows * 12 * m**2 + _ql(m, 2 * rows)


def bytes_moved(n_modes: int) -> int:
    """What one q must bring from and to memory: three components of q, and an energy and an intensity for every mode."""
    return 24 + 16 * n_modes
