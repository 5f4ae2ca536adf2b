import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]

class Model:
    def __init__(
        self,
        positions: _Reals,
        spins: _Reals,
        directions: _Reals,
        moments: _Reals,
        bond_sites: _Integers,
        bond_offsets: _Reals,
        bond_exchanges: _Reals,
        bond_parameters: _Integers,
        ion_sites: _Integers,
        ion_matrices: _Reals,
        ion_parameters: _Integers,
        zeeman_sites: _Integers,
        zeeman_vectors: _Reals,
        zeeman_parameters: _Integers,
        n_parameters: int,
        q_to_magnetic: _Reals,
        reciprocal: _Reals,
        n_cells: float,
    ) -> None: ...
    @property
    def is_split(self) -> bool: ...
    @property
    def is_real(self) -> bool: ...
    @property
    def is_layered(self) -> bool: ...
    def classical_energy(self, parameters: _Reals) -> float: ...
    def torque(self, parameters: _Reals) -> _Reals: ...
    def solve(
        self,
        q: _Reals,
        parameters: _Reals,
        factors: _Reals | None,
        full: bool,
        single: bool,
        amplitudes: bool,
        threads: int,
    ) -> tuple[_Reals, _Reals, npt.NDArray[np.complex128] | None, _Reals, _Integers]: ...

class Folding:
    def __init__(
        self,
        model: Model,
        solve_q: _Reals,
        shift: _Reals,
        plus: npt.NDArray[np.int32],
        minus: npt.NDArray[np.int32],
        n_q: int,
    ) -> None: ...
    def evaluate(self, parameters: _Reals, threads: int) -> tuple[_Reals, _Reals, _Reals, _Integers]: ...

class Image:
    def __init__(
        self,
        model: Model,
        solve_q: _Reals,
        shift: _Reals,
        plus: npt.NDArray[np.int32],
        minus: npt.NDArray[np.int32],
        grid: _Reals,
        mirrored: bool,
        exchanged: bool,
        pixel_edges: _Reals,
        blocks: _Reals,
        block_bins: _Integers,
        bins: _Reals,
        form_factor: _Reals,
        form_factor_step: float,
        kf_over_ki: bool,
    ) -> None: ...
    def simulate(
        self,
        parameters: _Reals,
        settings: _Reals,
        out: _Reals | npt.NDArray[np.float32],
        counting: Counting | None,
        threads: int,
    ) -> _Reals: ...

class Counting:
    def __init__(
        self,
        key: int,
        index: npt.NDArray[np.uint64],
        relative: bool,
        scale: npt.NDArray[np.float32],
        background: npt.NDArray[np.float32],
        sigma: npt.NDArray[np.float32] | None,
        lowest: float,
        highest: float,
    ) -> None: ...

FARTHEST_Q: float

def instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def choose_instruction_set(name: str) -> None: ...
def count(mean: npt.NDArray[np.float32], counting: Counting, counts: npt.NDArray[np.float32], threads: int) -> None: ...
def random_words(key: int, index: int, bin: int, number: int) -> npt.NDArray[np.uint32]: ...
def expected_image(
    image: npt.NDArray[np.float32],
    mirror_h: bool,
    mirror_k: bool,
    scale: float,
    terms: npt.NDArray[np.float32],
    coefficients: npt.NDArray[np.float32],
    shapes: list[npt.NDArray[np.float32]],
    levels: list[float],
    out: npt.NDArray[np.float32],
) -> None: ...
def weighted_sum(image: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]) -> float: ...
def arsinh_view(counts: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_], out: npt.NDArray[np.float32]) -> int: ...
def fold_quarters(
    images: npt.NDArray[np.float32],
    threads: int,
    mean: npt.NDArray[np.float32],
    share: npt.NDArray[np.float32],
    log_scale: npt.NDArray[np.float32],
) -> None: ...
def half_to_single(halves: npt.NDArray[np.uint16], out: npt.NDArray[np.float32]) -> None: ...
