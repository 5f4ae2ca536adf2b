"""The spin model: geometry fixed once, named parameters that enter linearly.

H = sum over bonds, each once, S_i.J_ij.S_j + sum_i S_i.A_i.S_i + sum_i b_i.S_i, in meV; b = -mu_B B.g for a field B
(so spins align with B for g > 0). J > 0 is antiferromagnetic. Every term is fixed or multiplied by one parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import numpy as np
import numpy.typing as npt

from insdl import _core
from insdl.crystal import checked_lattice, real_numbers, reciprocal, shown
from insdl.units import MU_B

if TYPE_CHECKING:
    from insdl.spinwave import Modes

_Reals = npt.NDArray[np.float64]
_RESERVED = {"q_rlu", "threads", "form", "form_factor", "output", "precision", "parameters", "self"}
_FARTHEST = 10**6  # cells; an offset beyond is a slip of the pen, and its phases would lose digits


def _array(value: npt.ArrayLike, shape: tuple[int, ...], what: str) -> _Reals:
    """A read-only float64 copy of ``value``, or one clear sentence."""
    array = real_numbers(value, what)
    if array.shape != shape:
        raise ValueError(f"{what} must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite, got {array.tolist()}")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Site:
    """A magnetic site.

    Attributes
    ----------
    position : (3,) float64, fractions of the magnetic cell.
    spin : float. The length S.
    direction : (3,) float64, Cartesian. The moment's direction; normalised here.
    ion : str or None. For the form factor, such as ``"Mn3+"``.
    g : (3, 3) float64 or float. The g tensor that a field couples to.
    """

    position: npt.ArrayLike
    spin: float
    direction: npt.ArrayLike
    ion: str | None = None
    g: npt.ArrayLike = 2.0


@dataclass(frozen=True, eq=False)
class Bond:
    """S_i.exchange.S_j between site ``i`` of cell 0 and site ``j`` of cell ``offset``; each bond once.

    ``exchange`` is a (3, 3) matrix, or a number for an isotropic one; meV where ``parameter`` is None, else the
    pattern that the parameter's value (meV) multiplies.
    """

    i: int
    j: int
    offset: tuple[int, int, int]
    exchange: npt.ArrayLike = 1.0
    parameter: str | None = None


@dataclass(frozen=True, eq=False)
class SingleIon:
    """S.matrix.S on one site, matrix (3, 3) symmetric; meV where ``parameter`` is None, else a pattern."""

    site: int
    matrix: npt.ArrayLike
    parameter: str | None = None


@dataclass(frozen=True, eq=False)
class Zeeman:
    """vector.S on one site, (3,) meV; a field of B tesla is vector = -mu_B B.g (see `SpinModel.with_field`)."""

    site: int
    vector: npt.ArrayLike
    parameter: str | None = None


@dataclass(frozen=True, eq=False)
class SpinModel:
    """A magnetic structure with its Hamiltonian, linear in named parameters.

    Attributes
    ----------
    lattice : (3, 3) float64, angstrom. Rows a, b, c of the chemical cell, in whose r.l.u. every q is given.
    magnetic_lattice : (3, 3) float64, angstrom. Rows of the magnetic cell, in which sites and bonds are given.
    sites, bonds, single_ion, zeeman : the terms, in the order given.
    parameters : names in the order in which arrays of parameters are read.
    n_chemical_cells : int. Chemical cells in a magnetic one; intensities are divided by it.
    moments : (n_sites, 3, 3) float64 or None. g tensors that multiply spins in intensities; None for spin only.

    Raises
    ------
    ValueError, TypeError
        If anything is of the wrong kind or shape, not finite, or refers to a site or a parameter that is not there.

    Examples
    --------
    >>> chain = SpinModel(
    ...     lattice=np.diag([3.0, 8, 8]), magnetic_lattice=np.diag([3.0, 8, 8]),
    ...     sites=[Site((0, 0, 0), 1.0, (0, 0, 1))], bonds=[Bond(0, 0, (1, 0, 0), parameter="J")], parameters=["J"])
    >>> float(chain.modes([[0.5, 0, 0]], J=-1.0).energy[0, 0].round(6))
    4.0
    """

    lattice: npt.ArrayLike
    magnetic_lattice: npt.ArrayLike
    sites: Sequence[Site]
    bonds: Sequence[Bond] = ()
    single_ion: Sequence[SingleIon] = ()
    zeeman: Sequence[Zeeman] = ()
    parameters: Sequence[str] = ()
    name: str = ""
    n_chemical_cells: int | None = None
    moments: npt.ArrayLike | None = None
    core: _core.Model = field(init=False, repr=False)

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        for which in ("lattice", "magnetic_lattice"):
            rows = checked_lattice(getattr(self, which), which)
            rows.setflags(write=False)
            put(which, rows)
        for which, kind in (("sites", Site), ("bonds", Bond), ("single_ion", SingleIon), ("zeeman", Zeeman)):
            put(which, _checked_list(getattr(self, which), kind, which))
        put("parameters", _checked_list(self.parameters, str, "parameters"))
        put("sites", tuple(_checked_site(site, n) for n, site in enumerate(self.sites)))
        if not self.sites:
            raise ValueError("a model needs at least one site, got none")
        for name in self.parameters:
            if not name.isidentifier() or iskeyword(name) or name in _RESERVED:
                raise ValueError(
                    f"a parameter's name must be usable as a keyword (and not {sorted(_RESERVED)}), got {name!r}"
                )
        if len(set(self.parameters)) < len(self.parameters):
            raise ValueError(f"parameters must have different names, got {list(self.parameters)}")
        ratio = abs(np.linalg.det(np.asarray(self.magnetic_lattice)) / np.linalg.det(np.asarray(self.lattice)))
        if self.n_chemical_cells is None:
            put("n_chemical_cells", round(ratio))
        if not _is_whole(self.n_chemical_cells):
            raise ValueError(f"n_chemical_cells must be a whole number, got {self.n_chemical_cells!r}")
        if self.n_chemical_cells is None or abs(self.n_chemical_cells / ratio - 1.0) > 1e-4:
            raise ValueError(
                f"the magnetic cell holds {ratio:.6g} chemical cells by volume, but n_chemical_cells is "
                f"{self.n_chemical_cells}"
            )
        put("core", self._compile())

    def _compile(self) -> _core.Model:
        n = len(self.sites)
        index = {name: k for k, name in enumerate(self.parameters)}

        def parameter(name: str | None, what: str) -> int:
            if name is None:
                return -1
            if not isinstance(name, str) or name not in index:
                raise ValueError(f"{what} refers to parameter {name!r}, but the model has {list(self.parameters)}")
            return index[name]

        def site(number: object, what: str) -> int:
            if _is_whole(number) and 0 <= int(number) < n:
                return int(number)
            raise ValueError(f"{what} refers to site {number!r}, but the model has sites 0 to {n - 1}")

        def integers(values: Iterable[int]) -> npt.NDArray[np.int64]:
            return np.array(list(values), dtype=np.int64)

        def stack(values: Sequence[_Reals], shape: tuple[int, ...]) -> _Reals:
            return np.ascontiguousarray(values, dtype=np.float64).reshape(len(values), *shape)

        ends, offsets, exchanges, bond_parameters = [], [], [], []
        for k, bond in enumerate(self.bonds):
            what = f"bond {k} ({bond.i!r}, {bond.j!r}, {bond.offset!r})"
            ends.append((site(bond.i, what), site(bond.j, what)))
            offset = _array(bond.offset, (3,), f"the offset of {what}")
            if not np.array_equal(offset, np.rint(offset)) or np.abs(offset).max() > _FARTHEST:
                raise ValueError(f"the offset of {what} must be whole numbers of cells, at most {_FARTHEST}")
            if bond.i == bond.j and not offset.any():
                raise ValueError(f"{what} joins a site with itself: use single_ion")
            offsets.append(offset)
            exchanges.append(checked_matrix(bond.exchange, f"the exchange of {what}"))
            bond_parameters.append(parameter(bond.parameter, what))
        ions = []
        for k, ion in enumerate(self.single_ion):
            what = f"single-ion term {k}"
            matrix = checked_matrix(ion.matrix, f"the matrix of {what} (site {ion.site!r})")
            if np.abs(matrix - matrix.T).max() > 1e-9 * max(1e-300, np.abs(matrix).max()):
                raise ValueError(f"the matrix of {what} (site {ion.site!r}) must be symmetric, got {matrix.tolist()}")
            ions.append((site(ion.site, what), matrix, parameter(ion.parameter, what)))
        fields = []
        for k, term in enumerate(self.zeeman):
            what = f"Zeeman term {k}"
            vector = _array(term.vector, (3,), f"the vector of {what}")
            fields.append((site(term.site, what), vector, parameter(term.parameter, what)))
        moments = np.eye(3)[None].repeat(n, 0) if self.moments is None else _array(self.moments, (n, 3, 3), "moments")
        return _core.Model(
            positions=stack([np.asarray(s.position) for s in self.sites], (3,)),
            spins=np.array([s.spin for s in self.sites], dtype=np.float64),
            directions=stack([np.asarray(s.direction) for s in self.sites], (3,)),
            moments=np.ascontiguousarray(moments),
            bond_sites=integers(e for pair in ends for e in pair).reshape(-1, 2),
            bond_offsets=stack(offsets, (3,)),
            bond_exchanges=stack(exchanges, (3, 3)),
            bond_parameters=integers(bond_parameters),
            ion_sites=integers(i for i, _, _ in ions),
            ion_matrices=stack([m for _, m, _ in ions], (3, 3)),
            ion_parameters=integers(p for _, _, p in ions),
            zeeman_sites=integers(i for i, _, _ in fields),
            zeeman_vectors=stack([v for _, v, _ in fields], (3,)),
            zeeman_parameters=integers(p for _, _, p in fields),
            n_parameters=len(self.parameters),
            q_to_magnetic=np.ascontiguousarray(self.q_to_magnetic),
            reciprocal=np.ascontiguousarray(reciprocal(self.lattice)),
            n_cells=float(self.n_chemical_cells or 1),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return SpinModel, (
            self.lattice, self.magnetic_lattice, self.sites, self.bonds, self.single_ion, self.zeeman,
            self.parameters, self.name, self.n_chemical_cells, self.moments,
        )  # fmt: skip

    @property
    def q_to_magnetic(self) -> _Reals:
        """(3, 3) matrix M with q_magnetic = M q_rlu; whole numbers for a commensurate magnetic cell."""
        matrix = np.asarray(self.magnetic_lattice) @ np.linalg.inv(np.asarray(self.lattice))
        rounded = np.rint(matrix)
        return np.where(np.abs(matrix - rounded) < 1e-9, rounded, matrix)

    def values(self, values: Mapping[str, float]) -> _Reals:
        """(n_parameters,) float64, meV, in the model's order, from values by name: every parameter, and no other."""
        unknown = [name for name in values if name not in self.parameters]
        missing = [name for name in self.parameters if name not in values]
        if unknown or missing:
            given = f"unknown: {unknown}" if unknown else f"missing: {missing}"
            raise TypeError(f"the model's parameters are {list(self.parameters)}; {given}")
        return np.array(
            [float(_array(values[name], (), f"parameter {name}")) for name in self.parameters], dtype=np.float64
        )

    def classical_energy(self, **values: float) -> float:
        """Classical energy of the magnetic cell, meV."""
        return self.core.classical_energy(self.values(values))

    def torque(self, **values: float) -> _Reals:
        """Torque S_i n_i x (mean field at i) on every moment: (n_sites, 3) float64, meV; zero in equilibrium."""
        return np.ascontiguousarray(self.core.torque(self.values(values)))

    def with_field(self, field_tesla: npt.ArrayLike) -> SpinModel:
        """The same model in a field (3,), tesla, Cartesian, added to what it has: -mu_B B.g.S on every site."""
        field_vector = _array(field_tesla, (3,), "field_tesla")
        terms = [Zeeman(i, -MU_B * field_vector @ np.asarray(site.g)) for i, site in enumerate(self.sites)]
        return replace(self, zeeman=(*self.zeeman, *terms))

    def with_directions(self, directions: npt.ArrayLike) -> SpinModel:
        """The same model with other moment directions: (n_sites, 3), Cartesian."""
        rows = _array(directions, (len(self.sites), 3), "directions")
        return replace(self, sites=[replace(s, direction=d) for s, d in zip(self.sites, rows, strict=True)])

    def modes(
        self,
        q_rlu: npt.ArrayLike,
        *,
        threads: int | None = None,
        form: Literal["auto", "full"] = "auto",
        form_factor: Literal["none", "ion"] = "none",
        output: Literal["intensity", "amplitude"] = "intensity",
        precision: Literal["double", "single"] = "double",
        parameters: npt.ArrayLike | None = None,
        **values: float,
    ) -> Modes:
        """Spin-wave energies and structure factors at momentum transfers; see `insdl.spinwave.spin_waves`."""
        from insdl.spinwave import spin_waves

        return spin_waves(
            self,
            q_rlu,
            threads=threads,
            form=form,
            form_factor=form_factor,
            output=output,
            precision=precision,
            parameters=parameters,
            values=values,
        )

    @staticmethod
    def from_dict(case: Mapping[str, Any]) -> SpinModel:
        """A model from its JSON form; see `insdl.model_file`."""
        from insdl.model_file import model_from_dict

        return model_from_dict(case)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of the model; see `insdl.model_file`."""
        from insdl.model_file import model_to_dict

        return model_to_dict(self)


def checked_matrix(value: npt.ArrayLike, what: str) -> _Reals:
    """A read-only (3, 3) float64 matrix, a number standing for a multiple of the identity; or one clear sentence."""
    array = real_numbers(value, what)
    return _array(array * np.eye(3) if array.ndim == 0 else array, (3, 3), what)


def _is_whole(number: object) -> TypeGuard[int]:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _checked_list(value: object, kind: type, what: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{what} must be a list of {kind.__name__}, got {shown(value)}")
    entries = tuple(value)
    for number, entry in enumerate(entries):
        if not isinstance(entry, kind):
            raise TypeError(f"{what} must be a list of {kind.__name__}, but entry {number} is {shown(entry)}")
    return entries


def _checked_site(site: Site, number: int) -> Site:
    what = f"of site {number}"
    direction = _array(site.direction, (3,), f"the direction {what}")
    length = float(np.linalg.norm(direction))
    if length < 1e-12:
        raise ValueError(f"the direction {what} must not be zero")
    spin = float(_array(site.spin, (), f"the spin {what}"))
    if not spin > 0:
        raise ValueError(f"the spin {what} must be a positive number, got {site.spin!r}")
    if not isinstance(site.ion, str | None):
        raise ValueError(f"the ion {what} must be a name like 'Mn3+' or None, got {site.ion!r}")
    return Site(
        _array(site.position, (3,), f"the position {what}"),
        spin,
        _array(direction / length, (3,), f"the direction {what}"),
        site.ion,
        checked_matrix(site.g, f"the g tensor {what}"),
    )
