"""Moment directions in classical equilibrium."""

from __future__ import annotations

import numpy as np

from insdl.model import SpinModel


def relax(model: SpinModel, *, max_steps: int = 100_000, tolerance: float = 1e-12, **values: float) -> SpinModel:
    """The model with its moments turned downhill in classical energy until no torque is left.

    Parameters
    ----------
    model : SpinModel. The start; moments stay within its magnetic cell.
    max_steps : int. Steps after which it gives up.
    tolerance : float, meV. Largest torque left, as a fraction of the largest at the start (or of 1 meV if that is larger).
    values : parameters by name, meV.

    Returns
    -------
    SpinModel. A local minimum or saddle point reachable from the start: from a symmetric start the symmetric one.

    Raises
    ------
    RuntimeError
        If the torque does not vanish within ``max_steps``.

    Notes
    -----
    Damped precession without the precession: dn/dt = n x (n x field), a step adapted so that the energy falls.
    """
    spins = np.array([site.spin for site in model.sites])
    directions = np.array([np.asarray(site.direction) for site in model.sites])
    energy, torque = model.classical_energy(**values), model.torque(**values)
    scale = max(1.0, float(np.abs(torque).max()))
    step = 0.1 / scale
    for _ in range(max_steps):
        if np.abs(torque).max() <= tolerance * scale:
            return model
        # torque = S n x field; the downhill direction for n is -(field - n (n.field)) = n x (n x field) = n x torque / S
        moved = directions + step * np.cross(directions, torque / spins[:, None])
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        trial = model.with_directions(moved)
        trial_energy, trial_torque = trial.classical_energy(**values), trial.torque(**values)
        # Near the end the gain in energy drowns in rounding; the torque still tells.
        rounding = 1e-13 * abs(energy)
        smaller = np.linalg.norm(trial_torque) < np.linalg.norm(torque)
        if trial_energy < energy - rounding or (trial_energy < energy + rounding and smaller):
            model, directions, energy, torque = trial, moved, trial_energy, trial_torque
            step *= 1.2
        else:
            step *= 0.5
    left = float(np.abs(torque).max())
    raise RuntimeError(f"the moments did not come to rest in {max_steps} steps: the largest torque is {left:.3g} meV")
