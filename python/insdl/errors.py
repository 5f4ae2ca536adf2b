"""What can go wrong besides a wrong call (which raises ValueError or TypeError)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class UnstableModelError(ValueError):
    """The quadratic Hamiltonian is not positive semidefinite: the assumed magnetic structure is no ground state.

    Attributes
    ----------
    q_rlu : (3,) float64, r.l.u. of the chemical cell. The wave vector with the lowest eigenvalue.
    lowest_eigenvalue : float, meV. Of the quadratic form there.
    largest_torque : float, meV. The largest torque on any moment; zero in a classical equilibrium.
    """

    def __init__(self, q_rlu: npt.NDArray[np.float64], lowest_eigenvalue: float, largest_torque: float) -> None:
        self.q_rlu = q_rlu
        self.lowest_eigenvalue = lowest_eigenvalue
        self.largest_torque = largest_torque
        where = ", ".join(f"{x:.6g}" for x in q_rlu)
        super().__init__(
            f"the magnetic structure is unstable at q_rlu = ({where}): lowest eigenvalue {lowest_eigenvalue:.6g} meV "
            f"of the quadratic Hamiltonian; the largest torque on a moment is {largest_torque:.6g} meV "
            f"(zero in a classical equilibrium)"
        )


class NotEquilibriumWarning(UserWarning):
    """The moments feel a torque: linear spin-wave theory starts from a structure that is not an equilibrium."""
