"""Commands that talk to a server."""

import functools

import grpc
import numpy as np
import pytest
from PIL import Image
from tests.client import fake

from eyespot.cli import connection
from eyespot.client import Client, color_maps
from eyespot.v1 import explain_pb2


@pytest.fixture
def made_up_time(monkeypatch):
    """A clock that only moves when a command waits."""
    time = fake.Time()
    client = functools.partial(Client, clock=time.clock, sleep=time.sleep)
    monkeypatch.setattr(connection, "Client", client)
    return time


def test_infer_names_the_likeliest_classes(run, address, pictures):
    ran = run("infer", pictures / "green.png", "--server", address, "--top-k", 2)
    # Logits 0, 4, 0: exp(4) / (exp(4) + 2) is 96.47 %.
    assert ran.out.splitlines() == [
        str(pictures / "green.png"),
        "   96.47%  green (1)",
        "    1.77%  red (0)",
    ]
    assert (ran.code, ran.err) == (0, "")


def test_infer_in_json(run, address, pictures):
    files = [pictures / "green.png", pictures / "blue.png"]
    ran = run("infer", *files, "--server", address, "--model", "colors", "--json", "--top-k", 1)
    assert ran.code == 0
    assert ran.json["model_name"] == "colors"
    green, blue = ran.json["images"]
    assert green["image"] == str(files[0])
    assert green["classes"][0]["label"] == "green"
    assert blue["classes"] == [
        {"index": 2, "label": "blue", "probability": pytest.approx(0.99933, abs=1e-5), "logit": 8.0}
    ]


def test_a_broken_picture_is_named_and_the_others_go_on(run, address, pictures):
    files = [pictures / name for name in ("green.png", "torn.png", "absent.png", "blue.png")]
    ran = run("infer", *files, "--server", address, "--json", "--top-k", 1)
    assert ran.code == 1
    assert [each["classes"][0]["label"] for each in ran.json["images"]] == ["green", "blue"]
    torn, absent = ran.err.splitlines()
    assert torn.startswith(f"eyespot: error: {files[1]} cannot be read: ")
    assert absent == f"eyespot: error: {files[2]} cannot be read: no such file or directory"


def test_the_model_may_be_left_out_when_one_is_ready(run, address, pictures, servicer):
    words = ["infer", pictures / "green.png", "--server", address]
    assert run(*words).code == 0
    servicer.index.append(("apples", "1", "READY", ""))
    ran = run(*words)
    assert ran.code == 1
    assert ran.err == "eyespot: error: which model? name one of apples, colors by --model\n"
    servicer.index.clear()
    assert run(*words).err == ("eyespot: error: which model? none is ready; see `eyespot status`\n")


@pytest.mark.parametrize("words", [[], ["--model", "colors"], ["--model-version", "2"]])
def test_a_model_that_is_being_loaded_is_awaited(
    run, address, pictures, servicer, made_up_time, words
):
    servicer.looks_until_ready = 3
    ran = run("infer", pictures / "green.png", "--server", address, "--top-k", 1, *words)
    assert ran.err == "eyespot: waiting for model colors, which is being loaded\n"
    assert (ran.code, len(made_up_time.pauses)) == (0, 2)
    assert "green (1)" in ran.out


@pytest.mark.parametrize("words", [["explain", "green.png", "--output", "drawn"], ["methods"]])
def test_what_explains_a_model_is_awaited_too(
    run, address, pictures, servicer, made_up_time, monkeypatch, words
):
    monkeypatch.chdir(pictures)
    servicer.looks_until_explained = 3
    ran = run(*words, "--server", address)
    assert ran.err == "eyespot: waiting for what explains model colors, which is being loaded\n"
    assert (ran.code, len(made_up_time.pauses)) == (0, 2)
    servicer.looks_until_explained = 99
    ran = run(*words, "--server", address, "--timeout", 2)
    assert ran.code == 3
    assert ran.err.splitlines()[-1] == (
        "eyespot: error: what explains model colors is still being loaded after 2 s; "
        "--timeout gives it longer"
    )


def test_answers_do_not_wait_for_what_explains(run, address, pictures, servicer, made_up_time):
    servicer.looks_until_explained = 99
    ran = run("infer", pictures / "green.png", "--server", address)
    assert (ran.code, ran.err, made_up_time.pauses) == (0, "", [])


def test_a_model_that_loads_too_long(run, address, pictures, servicer, made_up_time):
    servicer.looks_until_ready = 99
    ran = run("infer", pictures / "green.png", "--server", address, "--timeout", 2)
    assert ran.code == 3
    assert ran.err.splitlines()[-1] == (
        "eyespot: error: model colors is still being loaded after 2 s; --timeout gives it longer"
    )


def test_a_model_that_is_not_ready_is_no_unreachable_server(run, address, pictures, servicer):
    servicer.failures = [grpc.StatusCode.UNAVAILABLE] * 4  # the call and three retries
    ran = run("infer", pictures / "green.png", "--server", address, "--model", "colors")
    assert (ran.code, ran.err) == (1, "eyespot: error: on purpose\n")


def test_the_answer_of_the_server_ends_the_command(run, address, pictures):
    ran = run("infer", pictures / "green.png", "--server", address, "--model", "nix")
    assert ran.code == 1
    assert ran.err == "eyespot: error: NOT_FOUND: no model nix\n"


@pytest.mark.parametrize("words", [[], ["--progress"]])
def test_a_server_that_was_there_is_waited_for(
    run, address, pictures, servicer, made_up_time, words
):
    servicer.breaks = [grpc.StatusCode.UNAVAILABLE] * 8
    output = pictures / "drawn"
    asked = ["explain", pictures / "green.png", "--server", address, "--output", output]
    assert run(*asked, *words).code == 0
    assert len(made_up_time.pauses) == 8
    assert sum(made_up_time.pauses) > 10  # seconds, in which a server is restarted


def test_an_unreachable_server_has_its_own_exit_code(run, pictures, made_up_time):
    ran = run("infer", pictures / "green.png", "--server", "127.0.0.1:1", "--model", "m")
    assert (ran.code, len(made_up_time.pauses)) == (3, 3)  # nobody waits long for it
    assert ran.err == "eyespot: error: no server answers at 127.0.0.1:1: connection refused\n"


def test_an_address_is_no_url(run, pictures):
    ran = run("infer", pictures / "green.png", "--server", "http://127.0.0.1:1")
    assert ran.code == 2
    assert "expected HOST or HOST:PORT" in ran.err


def test_a_server_that_does_not_answer_in_time(run, address, servicer):
    servicer.hold.clear()
    ran = run("status", "--server", address, "--timeout", "0.05")
    assert ran.code == 3
    assert "did not answer within 0.05 s" in ran.err


def test_explain_draws_each_picture(run, address, pictures, tmp_path, servicer):
    output = tmp_path / "drawn" / "deep"
    files = [pictures / "green.png", pictures / "torn.png"]
    ran = run("explain", *files, "--server", address, "--output", output)
    assert ran.code == 1
    assert "torn.png cannot be read" in ran.err
    assert ran.out == (f"{files[0]}: blue, logit 1.5 -> {output / 'green-saliency.png'}\n")
    with Image.open(output / "green-saliency.png") as drawn:
        full = tuple(color_maps.sequential(np.array(1.0)).tolist())
        assert drawn.getpixel((440, 200)) == full  # every attribution is the largest


def test_a_top_class_against_itself_is_told(run, address, pictures, tmp_path):
    Image.new("RGB", (9, 9)).save(pictures / "black.png")  # and so is its explanation
    words = ["explain", pictures / "black.png", "--server", address, "--output", tmp_path]
    ran = run(*words, "--against", 0)  # explained is class 0, since no other is asked for
    assert (ran.code, ran.err) == (
        0,
        f"eyespot: {pictures / 'black.png'}: nothing to show: red, which is explained as a top "
        "class, stands against itself; give another --against, or a --target\n",
    )
    assert "no gradient at all" in run(*words, "--against", 1).err


def test_more_classes_than_there_are_name_the_option(run, address, pictures, tmp_path):
    ran = run(
        "explain", pictures / "green.png", "--server", address, "--output", tmp_path,
        "--top-k", "9",
    )  # fmt: skip
    assert (ran.code, ran.err) == (1, "eyespot: error: --top-k is 9, expected 1 to 3\n")


@pytest.mark.parametrize("option", ["--target", "--against", "--step"])
def test_several_top_classes_leave_no_class_to_name(run, option):
    ran = run("explain", "x.png", "--output", "y", "--top-k", 2, option, 1)
    assert (ran.code, "--top-k explains several top classes: no " in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("score", "remedy"), [("logit", ""), ("probability", "; try --score logit")]
)
def test_a_map_without_anything_in_it_is_told(run, address, pictures, tmp_path, score, remedy):
    Image.new("RGB", (9, 9)).save(pictures / "black.png")  # and so is its explanation
    ran = run(
        "explain", pictures / "black.png", "--server", address, "--output", tmp_path,
        "--score", score,
    )  # fmt: skip
    assert ran.code == 0
    assert ran.err == (
        f"eyespot: {pictures / 'black.png'}: no gradient at all: "
        f"the score does not react to any pixel{remedy}\n"
    )


def test_explain_leaves_no_folder_when_it_fails(run, address, pictures, tmp_path):
    output = tmp_path / "drawn"
    words = ["explain", pictures / "green.png", "--server", address]
    assert run(*words, "--output", output, "--model", "nix").code == 1
    assert not output.exists()
    ran = run(*words, "--output", pictures / "blue.png")
    assert (ran.code, "is no folder" in ran.err) == (1, True)
    ran = run(*words, "--output", pictures / "blue.png" / "deep")
    assert (ran.code, "cannot be made: not a directory" in ran.err) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ["infer", "x.png", "--top-k", "0"],
        ["infer", "x.png", "--top-k", "many"],
        ["infer", "x.png", "--model-version", "x"],
        ["explain", "x.png", "--output", "y", "--model-version", "-1"],
        ["explain", "x.png", "--output", "y", "--parameter", "n_steps"],
        ["explain", "x.png", "--output", "y", "--top-k", "0"],
    ],
)
def test_values_that_cannot_be_are_wrong_usage(run, words):
    assert run(*words).code == 2


def test_a_model_without_a_rule_says_what_to_do(run, address, pictures, servicer):
    ran = run("infer", pictures / "green.png", "--server", address, "--model", "planes")
    assert ran.code == 1
    assert "export it with one (`eyespot add --preprocessing` gives an ONNX file one)" in ran.err


@pytest.mark.parametrize(
    "words", [["infer"], ["explain", "--output", "drawn"]], ids=["infer", "explain"]
)
def test_the_entrance_of_encoded_pictures_means_its_model(
    run, address, pictures, servicer, monkeypatch, words
):
    monkeypatch.chdir(pictures)
    servicer.image_formats = "PNG"
    ran = run(*words, "green.png", "--server", address, "--model", "colors_image", "--json")
    assert (ran.code, ran.json["model_name"]) == (0, "colors")
    assert ran.err == (
        "eyespot: colors_image takes encoded pictures; asking colors, which is sent them as well\n"
    )


@pytest.mark.parametrize("path", ["models/colors", "green.png"])
def test_a_path_is_no_name_of_a_model(run, address, pictures, monkeypatch, path):
    monkeypatch.chdir(pictures)
    ran = run("methods", path, "--server", address)
    assert (ran.code, ran.err) == (
        1,
        f"eyespot: error: {path!r} is a path, where the name of a model that the server has is "
        "expected: colors, torn\n",
    )


def test_a_folder_of_pictures_is_no_picture(run, address, pictures):
    ran = run("infer", pictures, "--server", address)
    assert (ran.code, ran.err) == (
        1,
        f"eyespot: error: {pictures} cannot be read: it is a folder; name the pictures in it, "
        f"such as {pictures}/*.png\n",
    )


def test_explain_passes_on_what_was_asked(run, address, pictures, tmp_path, servicer):
    ran = run(
        "explain", pictures / "green.png", "--server", address, "--output", tmp_path,
        "--model", "colors", "--method", "smooth", "--target", "1", "--score", "probability",
        "--channel-reduction", "mean", "--json",
    )  # fmt: skip
    assert ran.code == 0
    [image] = ran.json["images"]
    assert (image["target"], image["label"], image["score_name"]) == (1, "green", "probability")
    assert image["drawing"] == str(tmp_path / "green-smooth.png")
    [request] = [r for r in servicer.requests if isinstance(r, explain_pb2.ExplainRequest)]
    assert request.targets[0].index == 1
    assert request.score == explain_pb2.SCORE_PROBABILITY
    assert request.channel_reduction == explain_pb2.CHANNEL_REDUCTION_MEAN
    run(
        "explain", pictures / "green.png", "--server", address, "--output", tmp_path,
        "--model", "colors", "--target", "green",
    )  # fmt: skip
    assert servicer.requests[-1].targets[0].label == "green"


def test_explain_passes_on_parameters_and_a_contrast(run, address, pictures, tmp_path, servicer):
    ran = run(
        "explain", pictures / "green.png", "--server", address, "--output", tmp_path,
        "--model", "colors", "--target", "1", "--against", "red", "--parameter", "n_steps=3",
        "--parameter", "noise=0.5", "--parameter", "layer=relu", "--parameter", "flag=true",
    )  # fmt: skip
    assert ran.code == 0
    [request] = [r for r in servicer.requests if isinstance(r, explain_pb2.ExplainRequest)]
    assert (request.targets[0].index, request.targets[0].against_label) == (1, "red")
    sent = {
        name: value.WhichOneof("parameter_choice") for name, value in request.parameters.items()
    }
    assert sent == {
        "n_steps": "int64_param",
        "noise": "double_param",
        "layer": "string_param",
        "flag": "bool_param",
    }


def regions_of(servicer):
    return [
        np.frombuffer(target.region, np.uint8).reshape(target.region_shape).tolist()
        for request in servicer.of(explain_pb2.ExplainRequest)
        for target in request.targets
    ]


def test_explain_of_a_region(run, address, tmp_path, servicer):
    for name in ("a", "b"):
        Image.new("RGB", (4, 3), (9, 0, 0)).save(tmp_path / f"{name}.png")
    mask = np.zeros((3, 4), np.uint8)
    mask[1:, 2:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["explain", tmp_path / "a.png", tmp_path / "b.png", "--model", "scene",
             "--server", address, "--output", tmp_path / "drawn", "--target", "1"]  # fmt: skip
    for told in ("2,1,4,3", tmp_path / "mask.png"):
        assert run(*words, "--region", told).code == 0
    assert regions_of(servicer) == [[[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]] * 4


@pytest.mark.parametrize(
    ("told", "code", "why"),
    [
        ("2,1,2,3", 2, "expected LEFT,UPPER,RIGHT,LOWER with LEFT below RIGHT"),
        ("40,1,50,3", 1, "nothing of the region is left in what the model sees"),
        ("absent.png", 1, "absent.png cannot be read"),
        ("small.png", 1, "small.png is of 2x2 pixels, but"),
    ],
)
def test_a_region_that_is_none(told, code, why, run, address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 3)).save("a.png")
    Image.new("L", (2, 2), 255).save("small.png")
    ran = run("explain", "a.png", "--model", "scene", "--server", address,
              "--output", "drawn", "--region", told)  # fmt: skip
    assert ran.code == code
    assert why in ran.err
    assert not (tmp_path / "drawn").exists()


def test_explain_draws_several_top_classes(run, address, pictures, tmp_path):
    ran = run(
        "explain", pictures / "green.png", "--server", address, "--output", tmp_path,
        "--model", "colors", "--top-k", "2", "--json",
    )  # fmt: skip
    assert ran.code == 0
    assert [image["target"] for image in ran.json["images"]] == [2, 1]
    assert len({image["drawing"] for image in ran.json["images"]}) == 2


def test_pictures_of_one_name_get_two_drawings(run, address, pictures, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "green.png").write_bytes((pictures / "green.png").read_bytes())
    ran = run(
        "explain", pictures / "green.png", other / "green.png", "--server", address,
        "--output", tmp_path / "drawn", "--json",
    )  # fmt: skip
    assert ran.code == 0
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert names == ["green-saliency-2.png", "green-saliency.png"]


def test_explain_draws_as_it_is_told(run, address, pictures, tmp_path, servicer):
    words = ["explain", pictures / "green.png", "--server", address, "--model", "colors"]
    plain = run(*words, "--output", tmp_path / "plain")
    assert plain.code == 0
    told = run(
        *words, "--output", tmp_path / "told", "--sign", "signed", "--clip", "90", "--smooth", "1.5"
    )
    assert told.code == 0
    sent = [r.channel_reduction for r in servicer.requests if hasattr(r, "channel_reduction")]
    # A sign needs channels that were not reduced to their magnitudes.
    assert sent == [explain_pb2.CHANNEL_REDUCTION_MAX, explain_pb2.CHANNEL_REDUCTION_NONE]
    drawings = [tmp_path / each / "green-saliency.png" for each in ("plain", "told")]
    assert drawings[0].read_bytes() != drawings[1].read_bytes()
    for wrong in (["--clip", "0"], ["--smooth", "-1"], ["--sign", "both"]):
        assert run(*words, "--output", tmp_path, *wrong).code == 2


def test_explain_tells_how_far_it_has_come(run, address, pictures, tmp_path, servicer, monkeypatch):
    told = []
    monkeypatch.setattr("eyespot.cli.progress.Share.reach", lambda _, share: told.append(share))
    ran = run(
        "explain", pictures / "green.png", pictures / "blue.png", "--server", address,
        "--model", "colors", "--output", tmp_path, "--progress", "--json",
    )  # fmt: skip
    assert ran.code == 0
    assert told == [0.5, 1.0]
    assert len(ran.json["images"]) == 2


def test_explain_by_likeness(run, address, pictures, tmp_path, servicer):
    words = ["explain", pictures / "green.png", "--server", address, "--model", "scene"]
    words += ["--output", tmp_path, "--like"]
    ran = run(*words, pictures / "blue.png")
    assert ran.code == 0
    assert "likeness to blue.png, cosine similarity" in ran.out
    assert list(servicer.requests[-1].targets[0].embedding) == [0, 0, 2]
    ran = run(*words, pictures / "torn.png")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "torn.png cannot be read" in ran.err
    assert run(*words, pictures / "blue.png", "--against", "1").code == 2
    assert run(*words, pictures / "blue.png", "--target", "1").code == 2


def test_status_tells_states_reasons_and_counts(run, address):
    ran = run("status", "--server", address)
    assert ran.code == 1  # one model is torn
    first, heads, colors, torn = ran.out.splitlines()
    assert first == (
        f"fake 7 at {address} is not ready: 2 model versions, 1 ready, 1 that cannot be served"
    )
    assert heads.split()[:3] == ["MODEL", "VERSION", "STATE"]
    # 12 rows in 5 batches, 1 failure, 2 ms in the queue.
    assert colors.split() == ["colors", "2", "READY", "12", "5", "2.4", "1", "2", "0"]
    assert torn.split() == ["torn", "1", "UNAVAILABLE", *"------", "torn", "file"]


def test_status_counts_explanations_where_there_are_any(run, address, servicer):
    heads = ["QUEUE", "MS", "COMPUTE", "MS"]
    servicer.explained = (4, 0)  # in 30 ms
    _, told, colors, torn = run("status", "--server", address).out.splitlines()
    assert told.split()[-8:] == [*heads, "EXPLAINED", "EXPLAIN", "MS", "REASON"]
    assert colors.split()[-3:] == ["0", "4", "7.5"]
    assert torn.split()[2:] == ["UNAVAILABLE", *"--------", "torn", "file"]
    servicer.explained = (1, 3)
    _, told, colors, _ = run("status", "--server", address).out.splitlines()
    assert told.split()[-6:-1] == ["EXPLAINED", "NOT", "EXPLAINED", "EXPLAIN", "MS"]
    assert colors.split()[-3:] == ["1", "3", "30"]
    colors, torn = run("status", "--server", address, "--json").json["models"]
    assert (colors["explain_count"], colors["explain_fail_count"]) == (1, 3)
    assert (colors["mean_explain_ms"], torn["mean_explain_ms"]) == (30.0, None)


def test_status_tells_that_a_server_is_shutting_down(run, address, servicer):
    servicer.index = [("net", "1", "READY", "")]  # and yet it takes no requests
    ran = run("status", "--server", address)
    assert ran.code == 1
    assert ran.out.splitlines()[0] == (
        f"fake 7 at {address} is shutting down: it answers what it has admitted, "
        "and admits nothing more"
    )
    assert run("status", "--server", address, "--json").json["is_draining"] is True
    servicer.index = [("net", "2", "READY", "")]  # takes them
    assert "is not ready: 1 model version" in run("status", "--server", address).out


@pytest.mark.parametrize(
    ("is_server_ready", "states", "told"),
    [
        (True, ["READY"], "is ready: 1 model version, which is ready"),
        (True, ["READY", "READY"], "is ready: 2 model versions, all of them ready"),
        (True, ["UNAVAILABLE"] * 2, "is ready, but none of 2 model versions can be served"),
        (True, ["UNAVAILABLE"], "is ready, but its 1 model version cannot be served"),
        (
            True,
            ["UNAVAILABLE", "READY"],
            "is ready: 2 model versions, 1 that cannot be served, 1 ready",
        ),
        (False, ["UNAVAILABLE"] * 2, "is not ready, and none of 2 model versions can be served"),
        (
            False,
            ["LOADING", "READY"],
            "is still loading: 2 model versions, 1 being loaded, 1 ready",
        ),
        (True, ["", "READY"], "is ready: 2 model versions, 1 not loaded, 1 ready"),
        (True, [], "is ready: the model repository is empty"),
    ],
)
def test_status_says_how_many_are_in_which_state(
    run, address, servicer, is_server_ready, states, told
):
    servicer.is_ready = is_server_ready
    servicer.index = [(f"net{number}", "2", state, "") for number, state in enumerate(states)]
    assert run("status", "--server", address).out.splitlines()[0] == f"fake 7 at {address} {told}"


def test_status_tells_that_explanations_are_still_to_come(run, address, servicer):
    servicer.looks_until_explained = 1
    first, _, colors, _ = run("status", "--server", address).out.splitlines()
    assert first == (
        f"fake 7 at {address} is still loading: 2 model versions, "
        "1 ready to answer but not yet to explain, 1 that cannot be served"
    )
    assert colors.endswith("it answers; what explains it is being loaded")


def test_status_in_json(run, address):
    status = run("status", "--server", address, "--json").json
    assert status["server"] == {"name": "fake", "version": "7", "extensions": ["statistics"]}
    assert (status["is_ready"], status["is_draining"]) == (False, False)
    colors, torn = status["models"]
    assert (colors["inference_count"], colors["mean_batch_size"]) == (12, 2.4)
    assert (torn["state"], torn["reason"]) == ("UNAVAILABLE", "torn file")


@pytest.mark.parametrize(
    ("is_server_ready", "is_model_ready", "code"),
    [(True, True, 0), (False, True, 1), (True, False, 1)],
)
def test_status_is_a_check_for_scripts(
    run, address, servicer, is_server_ready, is_model_ready, code
):
    servicer.is_ready = is_server_ready
    servicer.index = [("colors", "2", "READY" if is_model_ready else "LOADING", "")]
    assert run("status", "--server", address).code == code


@pytest.mark.parametrize("timeout", ["0", "-1", "soon"])
def test_a_timeout_is_positive(run, timeout):
    assert run("status", "--timeout", timeout).code == 2


def test_methods_lists_what_works_and_why_the_rest_does_not(run, address):
    ran = run("methods", "--model", "colors", "--server", address)
    assert ran.out.splitlines() == [
        "METHOD  FORWARD PASSES     PAPER",
        "smooth  150, with n_steps  S et al. 2017",
        "",
        "to be set by --parameter NAME=VALUE",
        "  n_steps=50  of smooth",
        "      steps (int64, from 1)",
        "",
        "cam does not work here: no convolution",
    ]
    assert (ran.code, ran.err) == (0, "")
    told = run("methods", "--model", "colors", "--server", address, "--json").json
    assert told["model_name"] == "colors"
    assert [method["is_available"] for method in told["methods"]] == [True, False]


def test_a_step_is_asked_for(run, address, pictures, servicer, tmp_path):
    ran = run("explain", pictures / "green.png", "--model", "colors", "--server", address,
              "--target", "1", "--step", "3", "--output", tmp_path)  # fmt: skip
    assert ran.code == 0
    (asked,) = servicer.of(explain_pb2.ExplainRequest)
    assert [(target.index, target.step) for target in asked.targets] == [(1, 3)]
