"""A network's ranking of cells beside that by information."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.guide.agreement import agreement


def test_the_same_order_agrees_whatever_the_sign() -> None:
    found = agreement([1.0, 3.0, 2.0, 0.0], [-10.0, 30.0, -20.0, 0.0], top=2)
    assert found.spearman == pytest.approx(1.0)
    assert found.missed == ()
    assert [one.cell for one in found.cells] == [1, 2, 0, 3]


def test_a_network_that_looks_elsewhere_misses_cells() -> None:
    found = agreement([5.0, 4.0, 1.0, 0.0], [0.0, 1.0, 4.0, 5.0], top=2)
    assert found.spearman == pytest.approx(-1.0)
    assert found.missed == (0, 1)
    assert (found.cells[0].rank_by_information, found.cells[0].rank_by_network) == (1, 4)


def test_a_constant_ranks_nothing() -> None:
    assert np.isnan(agreement([1.0, 2.0], [1.0, 1.0], top=1).spearman)


@pytest.mark.parametrize(("importance", "top"), [([1.0], 1), ([1.0, np.nan], 1), ([1.0, 2.0], 3)])
def test_wrong_arguments_are_refused(importance: list[float], top: int) -> None:
    with pytest.raises(ValueError, match=r"evidence and importance must be|top must lie"):
        agreement([1.0, 2.0], importance, top=top)
