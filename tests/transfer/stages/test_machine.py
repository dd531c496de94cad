import pytest
import torch

from eyespot.transfer import SettingsError
from eyespot.transfer.stages.machine import Machine, choose_machine, sensible_workers


def test_small_pictures_are_prepared_here_and_large_ones_by_half_of_the_cores():
    assert [sensible_workers(32, 8), sensible_workers(224, 1), sensible_workers(224, 2)] == [
        0,
        1,
        1,
    ]
    assert [sensible_workers(224, 8), sensible_workers(224, 64)] == [4, 8]


def test_a_cpu_computes_in_float32_unless_it_is_told_otherwise():
    machine = choose_machine(side=32, device="cpu")
    assert machine == Machine(device="cpu", precision="float32", workers=0)
    with machine.computing():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with Machine(precision="bfloat16").computing():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("told", [{"avx512_bf16": True}, {"amx_bf16": True}])
def test_bfloat16_is_for_processors_that_have_it(told, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told)
    assert choose_machine(side=32, device="cpu", precision="bfloat16").precision == "bfloat16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(SettingsError, match="has no instructions for it"):
        choose_machine(side=32, device="cpu", precision="bfloat16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "abacus"}, "device 'abacus' is none that PyTorch knows"),
        ({"precision": "int4"}, "precision must be one of auto, float32, bfloat16, found 'int4'"),
        ({"device": "cuda"}, "PyTorch sees no GPU here"),
    ],
)
def test_what_is_not_here_is_told(options, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=message):
        choose_machine(side=32, **options)
