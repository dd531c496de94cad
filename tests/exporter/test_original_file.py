"""The captured program on a disk that is full; what is read back is seen in the other tests."""

import pytest
import torch
from tests.full_disk import files_of_at_most
from torch import nn

from eyespot.exporter.original_file import read_program, save_original


def test_a_full_disk_is_an_error_and_no_abort(tmp_path):
    network = nn.Linear(40, 40)
    row = torch.ones(1, 40)
    program = torch.export.export(network, (row,))
    path = tmp_path / "original.pt2"
    for size in (100, 5000):
        with files_of_at_most(size), pytest.raises(OSError, match="File too large"):
            save_original(program, path)
    save_original(program, path)
    assert torch.equal(read_program(path).module()(row), network(row))
