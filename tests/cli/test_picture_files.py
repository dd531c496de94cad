"""More pictures than are asked about in one call: all of one version of the model."""

import grpc
import pytest

from eyespot.cli.errors import CommandError
from eyespot.cli.picture_files import ask_about
from eyespot.client import NotFoundError
from eyespot.v1 import inference_pb2 as pb

MANY = 33


@pytest.mark.parametrize(
    ("count", "named", "asked"), [(MANY, (), "10"), (MANY, ("9",), "9"), (MANY - 1, (), "")]
)
def test_the_newest_version_answers_about_all(
    run, address, pictures, servicer, count, named, asked
):
    servicer.index[:0] = [("colors", version, "READY", "") for version in ("9", "10")]
    servicer.index.append(("colors", "11", "UNAVAILABLE", "torn file"))
    version = ("--model-version", *named) if named else ()
    ran = run("infer", *[pictures / "green.png"] * count, "--server", address, "--json", *version)
    assert (ran.code, len(ran.json["images"])) == (0, count)
    assert {request.model_version for request in servicer.of(pb.ModelInferRequest)} == {asked}


def test_a_version_that_goes_in_the_middle_is_told():
    gone = NotFoundError(grpc.StatusCode.NOT_FOUND, "it has the version 3")

    def ask(paths):
        if "32" in paths:
            raise gone
        return paths

    answers = ask_about(list(map(str, range(MANY))), ask)
    assert [next(answers)[0] for _ in range(32)] == list(map(str, range(32)))
    with pytest.raises(CommandError, match="first 32 pictures is gone; run the command again"):
        next(answers)
    with pytest.raises(NotFoundError):  # nothing was answered yet
        next(ask_about(["32"], ask))
