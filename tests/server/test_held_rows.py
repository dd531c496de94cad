"""Batch sizes that are held, by hand; and a model whose session is said to plan by size."""

import asyncio

import numpy as np
import pytest
from tests.server.tiny import BATCHING, affine, infer_request

from eyespot.server import held_rows
from eyespot.server.held_rows import HeldRows, filler
from eyespot.server.session import Session


def test_sizes_are_powers_of_two_that_grow_at_once_and_stay():
    held = HeldRows(32)
    assert [held.rows_for(None, rows) for rows in (1, 2, 3, 5, 4, 3, 1, 16)] == [
        *(1, 2, 4, 8, 8, 8, 8),
        16,
    ]


def test_no_size_is_beyond_the_largest_batch():
    held = HeldRows(20)
    assert [held.rows_for(None, rows) for rows in (17, 20, 9)] == [20, 20, 20]


def test_a_size_shrinks_when_it_has_cost_too_many_rows_in_vain(monkeypatch):
    monkeypatch.setattr(held_rows, "_PATIENCE", 40)
    held = HeldRows(32)
    # Nine of sixteen rows are more than half. Then 8 + 13 + 15 rows in vain are too few; 13 more
    # are enough; of the four batches the largest has 8 rows.
    sizes = [held.rows_for(None, rows) for rows in (16, 3, 3, 9, 8, 3, 1, 3, 1)]
    assert sizes == [16, 16, 16, 16, 16, 16, 16, 8, 8]


def test_who_calls_alone_beside_a_large_size_soon_has_a_small_one():
    held = HeldRows(32)
    held.rows_for(None, 32)
    sizes = [held.rows_for(None, 1) for _ in range(20)]
    assert sizes == [32] * 16 + [1] * 4


def test_each_key_has_its_own_size():
    held = HeldRows(32)
    held.rows_for("small", 16)
    assert held.rows_for("large", 1) == 1


def test_a_filler_is_the_last_row_without_a_copy():
    rows = np.float32([[1, 2], [3, 4]])
    filled = filler({"x": rows}, 3)["x"]
    assert filled.tolist() == [[3, 4]] * 3
    assert np.shares_memory(filled, rows)


@pytest.mark.parametrize("plans_by_size", [True, False])
async def test_a_model_runs_with_held_sizes_and_answers_what_was_asked(
    repository, serving, monkeypatch, plans_by_size
):
    """The graph runs on the CPU; only that it plans by size is made up."""
    sizes = []
    opened, run = Session.open.__func__, Session.run

    def open_as_on_cuda(cls, *arguments, **options):
        session = opened(cls, *arguments, **options)
        session.plans_by_size = plans_by_size
        return session

    def counting(session, inputs, outputs):
        sizes.append(len(inputs["x"]))
        return run(session, inputs, outputs)

    monkeypatch.setattr(Session, "open", classmethod(open_as_on_cuda))
    monkeypatch.setattr(Session, "run", counting)
    repository.add("net", affine(), config=BATCHING.format(rows=8, options=""))
    async with serving() as (_, client):
        sizes.clear()
        for count in (3, 1, 5, 2):
            rows = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
            request = infer_request("net", x=rows)
            response = await client.inference.ModelInfer(request)
            answer = np.frombuffer(response.raw_output_contents[0], np.float32)
            assert answer.tolist() == (2 * rows + 1).ravel().tolist()
        answers = await asyncio.gather(
            *(client.inference.ModelInfer(infer_request("net", x=rows[:1])) for _ in range(6))
        )
        assert len({each.raw_output_contents[0] for each in answers}) == 1
    if plans_by_size:
        assert sizes[:4] == [4, 4, 8, 8]
        assert set(sizes[4:]) == {8}
    else:
        assert sizes[:4] == [3, 1, 5, 2]
