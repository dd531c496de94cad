"""How the rows of a step are shared among the calls that are computed together."""

import numpy as np
import pytest

from eyespot.saliency import Objective, Refinement, Rows, Targets, ask_each, compute_together


class Counted(Refinement):
    """Pieces that are rows of their own numbers."""

    def __init__(self, count, first=0):
        super().__init__(count)
        self.first = first
        self.found = []

    def read(self):
        raise NotImplementedError

    def _rows(self, pieces):
        x = (self.first + pieces).astype(np.float32)[:, None]
        return Rows(x, Objective(Targets(np.zeros(len(x), np.int64))))

    def _add(self, pieces, found):
        self.found += found.tolist()


def step(refinements, most, compute=lambda rows: rows.x[:, 0] * 10):
    asked = ask_each(refinements, most)
    found = compute_together([rows for _, rows in asked], compute)
    for (number, _), values in zip(asked, found, strict=True):
        refinements[number].add(values)
    return [(number, len(rows.x)) for number, rows in asked]


def test_each_gets_what_it_asked_for():
    one, other = Counted(3), Counted(2, first=100)
    assert step([one, other], 8) == [(1, 2), (0, 3)]
    assert (one.found, other.found) == ([0, 10, 20], [1000, 1010])
    assert one.left == other.left == 0


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(50, 16, [13, 13, 12, 12]), (8, 3, [3, 3, 2]), (4, 9, [4]), (3, 1, [1, 1, 1])],
)
def test_steps_are_few_and_even(count, most, sizes):
    refinement = Counted(count)
    assert [step([refinement], most)[0][1] for _ in sizes] == sizes
    assert refinement.progress == 1


def test_who_has_little_left_leaves_its_share_to_the_others():
    assert step([Counted(20), Counted(1), Counted(11)], 8) == [(1, 1), (2, 3), (0, 4)]


def test_who_has_come_least_far_goes_first_where_there_is_no_room_for_all():
    refinements = [Counted(2), Counted(2), Counted(2)]
    seen = [step(refinements, 2) for _ in range(3)]
    assert [sorted(number for number, _ in each) for each in seen] == [[0, 1], [0, 2], [1, 2]]
    assert all(len(each) == 2 for each in seen)


def test_a_part_that_fails_fails_alone_and_is_computed_once_more_as_it_was():
    refinements = [Counted(1), Counted(1, first=7), Counted(1, first=5)]

    def compute(rows):
        if 7 in rows.x:
            raise ArithmeticError("seven")
        return rows.x[:, 0]

    asked = ask_each(refinements, 3)
    found = compute_together([rows for _, rows in asked], compute)
    assert [value.tolist() for value in (found[0], found[2])] == [[0], [5]]
    assert isinstance(found[1], ArithmeticError)


def test_results_that_do_not_number_their_rows_are_a_bug():
    [(_, rows)] = ask_each([Counted(2)], 2)
    [error] = compute_together([rows], lambda rows: rows.x[:1, 0])
    assert isinstance(error, RuntimeError)
    assert "1 for 2 targets" in str(error)
