import numpy as np
import pytest

from eyespot.server.batch import concatenate, split
from eyespot.server.held_rows import filler


def test_rows_are_joined_in_order_for_each_input():
    joined = concatenate(
        [
            {"a": np.array([[1, 2]]), "b": np.array([10])},
            {"a": np.array([[3, 4], [5, 6]]), "b": np.array([20, 30])},
        ]
    )
    np.testing.assert_array_equal(joined["a"], [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(joined["b"], [10, 20, 30])


def test_rows_lie_one_after_the_other_also_where_one_fills_the_batch_up():
    rows = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    requests = [{"x": rows[:1]}, {"x": rows[1:]}, filler({"x": rows}, 3)]
    joined = concatenate(requests)["x"]
    assert joined.flags.c_contiguous
    np.testing.assert_array_equal(joined, rows[[0, 1, 1, 1, 1]])


def test_a_lone_request_is_not_copied():
    array = np.ones((2, 3), np.float32)
    assert concatenate([{"a": array}])["a"] is array


def test_requests_with_other_inputs_do_not_join():
    with pytest.raises(ValueError, match=r"\['a'\] and \['b'\]"):
        concatenate([{"a": np.ones((1, 1))}, {"b": np.ones((1, 1))}])


def test_each_request_gets_its_own_rows_of_every_output():
    parts = split({"logits": np.array([[1.0], [2.0], [3.0]]), "top": np.array([7, 8, 9])}, [1, 2])
    np.testing.assert_array_equal(parts[0]["logits"], [[1.0]])
    np.testing.assert_array_equal(parts[1]["logits"], [[2.0], [3.0]])
    np.testing.assert_array_equal(parts[0]["top"], [7])
    np.testing.assert_array_equal(parts[1]["top"], [8, 9])


@pytest.mark.parametrize("rows", [[1, 1], [2, 2], [4]])
def test_results_that_do_not_number_the_inputs_are_loud(rows):
    with pytest.raises(RuntimeError, match=r"results must number inputs.*'logits'"):
        split({"logits": np.ones((3, 2))}, rows)


def test_an_output_without_rows_is_loud():
    with pytest.raises(RuntimeError, match="has no rows for 1 rows"):
        split({"loss": np.float32(1).reshape(())}, [1])
