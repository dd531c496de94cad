"""Runs the example programs of Triton's Python client, unchanged, against a server of ours.

    python -m tests.e2e.triton_examples FOLDER

FOLDER holds the programs, such as src/python/examples of triton-inference-server/client; they
are not ours and lie nowhere in here. The exit code is 1 if one of those that are tried fails.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import numpy as np
from PIL import Image
from tests.server.example_models import write_repository

from eyespot.cli.server_process import running_server
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.services import InferenceStub

SERVER_OPTIONS = (
    *("--server-id", "triton"),  # by which the programs know that they are where they wanted to be
    "--shared-memory",
    "--load-files",
    "--settings-calls",
    *("--model-control-mode", "explicit"),
    *("--load-model", "*"),
)
# What a program's name tells of what it needs that is not here.
LEFT_OUT = {
    "http": "speaks HTTP",
    "cudashm": "needs CUDA shared memory",
    "sequence": "needs sequence batching",
    "ensemble": "needs ensembles",
    "custom_repeat": "needs a model that answers more than once",
    "memory_growth": "speaks HTTP",
    "vllm": "needs a language model",
}
SECONDS = 120
PASSES = "passes"


def main() -> int:
    """Tries each program of a folder, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    programs = sorted(parser.parse_args().folder.glob("*.py"))
    if not programs:
        parser.error("there is no program in this folder")
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        repository, picture = Path(place) / "models", Path(place) / "picture.png"
        write_repository(repository)
        Image.fromarray(np.full((20, 30, 3), (200, 30, 90), np.uint8)).save(picture)
        log = Path(place) / "server.log"
        with running_server(repository, log=log, options=SERVER_OPTIONS) as server:
            for program in programs:
                verdict = _reason_to_leave_out(program)
                if not verdict:
                    _load_anew(server.address)
                    verdict = _try(program, server.address, picture)
                    failed += verdict != PASSES
                else:
                    verdict = f"left out: {verdict}"
                print(f"{program.name:50} {verdict}", flush=True)
            server.stop()
    print(f"{failed} failed" if failed else "all that were tried pass")
    return 1 if failed else 0


def _reason_to_leave_out(program: Path) -> str:
    for part, reason in LEFT_OUT.items():
        if part in program.stem:
            return reason
    needs_http = "tritonclient.http" in program.read_text(encoding="utf-8")
    if needs_http and importlib.util.find_spec("geventhttpclient") is None:
        return "imports tritonclient[http], which is not installed"
    return ""


def _load_anew(address: str) -> None:
    """One of the programs leaves `simple` unloaded."""
    with grpc.insecure_channel(address) as channel:
        InferenceStub(channel).RepositoryModelLoad(
            pb.RepositoryModelLoadRequest(model_name="simple")
        )


def _try(program: Path, address: str, picture: Path) -> str:
    """Runs a program in each of its ways; says that it passes, or how it fails."""
    arguments = ["-u", address]
    if program.stem in ("image_client", "reuse_infer_objects_client"):
        arguments += ["-i", "grpc"]
    if not program.stem.endswith("image_client"):
        return _run(program, arguments)
    arguments += ["-m", "inception_graphdef", "-s", "INCEPTION", "-c", "3", str(picture)]
    ways = ([], ["--async"], ["--streaming"], ["--batch-size", "4"])
    verdicts = (_run(program, [*arguments, *way]) for way in ways)
    return next((verdict for verdict in verdicts if verdict != PASSES), PASSES)


def _run(program: Path, arguments: list[str]) -> str:
    ended = subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    # Some tell by a word alone that they have come to their end.
    says_so = "PASS" in ended.stdout or "PASS" not in program.read_text(encoding="utf-8")
    if ended.returncode == 0 and says_so:
        return PASSES
    lines = (ended.stdout + ended.stderr).strip().splitlines()
    return f"FAILS with exit code {ended.returncode}: {lines[-1] if lines else 'no word'}"


if __name__ == "__main__":
    sys.exit(main())
