"""What can be said of peers without one: the table, their answers, and why one is missing."""

import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load import Load
from benchmarks.peers import __main__ as benchmark
from benchmarks.peers import lineup
from benchmarks.peers.answers import OtherAnswersError, logits_of, must_agree
from benchmarks.peers.configurations import Configuration
from benchmarks.peers.environments import Environment, PeerMissingError
from benchmarks.peers.starting import started
from benchmarks.peers.table import Line, table, verdicts
from benchmarks.processes import ServerProcess, process_tree
from benchmarks.serving.stage import Measured, Stage
from eyespot.v1 import inference_pb2

# Seconds per call of three rounds; the second round was twice as slow for all.
_BARE = {1: [1.0, 2.0, 1.0], 32: [0.5, 1.0, 0.5]}
_OURS = Line("ours", "as it is", {1: [1.5, 3.0, 1.5], 32: [0.75, 1.5, 0.75]})
_SLOW = Line("peer", "slow", {1: [4.5, 9.0, 4.5], 32: [1.0, 2.0, 1.0]})
_FAST = Line("peer", "fast", {1: [3.0, 6.0, 6.0], 32: [3.0, 6.0, 3.0]})


def test_the_table_holds_each_against_the_bare_server_and_ours_against_each():
    lines = table(bare=_BARE, ours=_OURS, peers=[_SLOW, _FAST]).splitlines()
    assert lines[0] == (
        "| server | configured | over (b), 1 client | over (b), 32 clients"
        " | (c) over it, 1 client | (c) over it, 32 clients |"
    )
    assert lines[2:] == [
        "| ours | as it is | 1.50 (1.50 to 1.50) | 1.50 (1.50 to 1.50) |  |  |",
        "| peer | slow | 4.50 (4.50 to 4.50) | 2.00 (2.00 to 2.00) | 0.33 | 0.75, missed |",
        "| peer | fast | 3.00 (3.00 to 6.00) | 6.00 (6.00 to 6.00) | 0.50 | 0.25 |",
    ]


def test_a_peer_is_judged_by_what_costs_it_least_for_so_many_clients():
    # One client: medians of 4.5 and 6.0, so "slow". 32: 1.0 and 3.0, so "slow" again.
    assert verdicts(ours=_OURS, peers=[_FAST, _SLOW]) == [
        "(c) / peer at its best, 1 client: 0.33 (0.33 to 0.33), at most 0.5: met",
        "(c) / peer at its best, 32 clients: 0.75 (0.75 to 0.75), at most 0.5: missed",
    ]


def test_answers_may_differ_by_a_hundred_thousandth_of_their_size():
    ours = [np.float32([[-86.4, 0.5]])]
    must_agree("peer", theirs=[np.float32([[-86.4005, 0.500009]])], ours=ours)
    for other in ([[-86.402, 0.5]], [[-86.4, 0.50002]], [[np.nan, 0.5]]):
        with pytest.raises(OtherAnswersError, match=r"peer: answer 0 is .* off"):
            must_agree("peer", theirs=[np.float32(other)], ours=ours)
    with pytest.raises(OtherAnswersError, match=r"answer 0 is \(2,\), ours \(1, 2\)"):
        must_agree("peer", theirs=[np.float32([-86.4, 0.5])], ours=ours)


def test_an_answer_is_read_from_raw_and_from_typed_contents():
    expected = np.float32([[1.5, -2.0, 3.25]])
    typed, raw = (inference_pb2.ModelInferResponse() for _ in range(2))
    for response in (typed, raw):
        response.outputs.add(name="logits", datatype="FP32", shape=[1, 3])
    typed.outputs[0].contents.fp32_contents.extend(expected[0])
    raw.raw_output_contents.append(expected.tobytes())
    for response in (typed, raw):
        np.testing.assert_array_equal(logits_of(response.SerializeToString()), expected)


def _python_that_says(folder, version, venv):
    script = folder / "python3.11"
    script.write_text(f'#!/bin/sh\n[ "$1" = -c ] && echo {version} || {{ {venv}; }}\n')
    script.chmod(0o755)


def test_a_peer_whose_python_is_not_here_is_named(tmp_path, monkeypatch):
    _python_that_says(tmp_path, "3.11.7", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}")
    environment = Environment("peer", ("peer==1",), python_version="3.11.2")
    with pytest.raises(PeerMissingError, match=r"peer needs Python 3\.11\.2, and there is none"):
        environment.make(tmp_path)


def test_a_peer_that_cannot_be_installed_is_named_with_the_reason(tmp_path, monkeypatch):
    _python_that_says(tmp_path, "3.11.2", "echo install venv >&2; echo no room; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}")
    environment = Environment("peer", ("peer==1",), python_version="3.11.2")
    with pytest.raises(PeerMissingError, match="peer cannot be installed:\ninstall venv\nno room"):
        environment.make(tmp_path)


def test_all_that_a_missing_peer_would_have_shown_is_left_out_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", f"{tmp_path}")
    monkeypatch.setattr(lineup, "answers", lambda server, requests: [])
    nobody = ServerProcess(0, 0)
    stage = Stage(nobody, nobody, tmp_path, tmp_path, np.zeros((1, 1, 32, 32), np.float32))
    with ExitStack() as running:
        found = lineup.line_up(
            ["pytriton", "triton"],
            model_name="lenet5",
            stage=stage,
            environments=tmp_path,
            running=running,
        )
    assert not found.servers
    (told,) = found.left_out
    assert told == "Left out: pytriton needs Python 3.11.2, and there is none in PATH"
    assert told in capsys.readouterr().out


def test_a_peer_that_ends_before_it_is_ready_is_named_with_its_last_line(tmp_path):
    environment = Environment("peer", ())
    broken = Configuration(
        "Peer 1.0", "bare", environment, lambda place: ["sh", "-c", "echo one; echo two; exit 3"]
    )
    with (
        pytest.raises(PeerMissingError, match=r"Peer 1\.0 \(bare\) does not get ready: two"),
        started(
            broken,
            environment=tmp_path,
            folder=tmp_path / "peer",
            model_name="lenet5",
            model_file=tmp_path / "model.onnx",
        ),
    ):
        pass


def _measured(monkeypatch, taken, *, rounds):
    """What comes of so many seconds for ten calls, None for calls that fail."""
    load = Load(calls=10, seconds=1.0, latency_p50=0.1, latency_p99=0.1, cpu_seconds=1.0)
    left = iter(taken)

    def measure(server, request, *, clients, calls):
        if (seconds := next(left)) is None:
            raise subprocess.CalledProcessError(1, "load")
        return Measured(load, seconds)

    monkeypatch.setattr(benchmark, "measure", measure)
    servers = {"(b)": ServerProcess(0, 0)}
    return benchmark._measure(servers, Path("request"), rounds=rounds)["(b)"]


def test_neither_the_first_round_counts_nor_one_in_which_a_call_fails(monkeypatch, capsys):
    taken = [9.0, 9.0, 1.0, 2.0, 3.0, None, 5.0, 6.0]  # two calls a round: 1 and 32 clients
    assert _measured(monkeypatch, taken, rounds=3) == {1: [0.1, 0.5], 32: [0.2, 0.6]}
    assert "round 2 does not count, a call failed: (b)" in capsys.readouterr().out


def test_a_server_that_has_ended_ends_the_rounds(monkeypatch):
    taken = [9.0, 9.0, None, 1.0, 2.0, None, None]
    assert _measured(monkeypatch, taken, rounds=9) == {1: [0.1], 32: [0.2]}


def test_a_server_is_measured_with_all_that_it_started():
    with subprocess.Popen(
        ["sh", "-c", "cat; :"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as shell:
        shell.stdin.write(b"here\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == b"here\n"
        first, second = process_tree(shell.pid)
        assert first == shell.pid
        both, one = (
            ServerProcess(shell.pid, 0).cpu_seconds(),
            ServerProcess(second, 0).cpu_seconds(),
        )
        assert both > one > 0
        shell.stdin.close()
