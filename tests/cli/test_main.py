import os
import subprocess
import sys

import pytest

from eyespot.cli import main as main_module
from eyespot.cli.main import SUBCOMMANDS, Subcommand, main


def test_the_help_lists_every_command_and_exit_code(run):
    ran = run("--help")
    assert ran.code == 0
    commands = (
        "models train export add inspect compare evaluate check serve status infer segment embed "
        "explain methods evaluate-saliency demo"
    )
    for name in commands.split():
        assert f"\n    {name}" in ran.out
    for line in ("0    done", "2    the command line", "3    the server cannot", "130  inter"):
        assert line in ran.out


@pytest.mark.parametrize(
    "name", [
        "models", "export", "add", "inspect", "compare", "check", "serve", "status", "infer",
        "explain",
    ],
)  # fmt: skip
def test_each_command_explains_itself(run, name):
    ran = run(name, "--help")
    assert ran.code == 0
    assert f"usage: eyespot {name}" in ran.out


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_help_fits_a_terminal(run, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert [line for line in run(name, "--help").out.splitlines() if len(line) > 80] == []


def test_the_help_of_status_tells_of_its_exit_code(run):
    assert "exit code is 1 unless the server and every model are ready" in run(
        "status", "--help"
    ).out.replace("\n", " ")


def test_no_command_and_an_unknown_one_are_wrong_usage(run):
    assert run().code == 2
    ran = run("exprot")
    assert ran.code == 2
    assert "no command 'exprot'" in ran.err
    assert "did you mean 'export'?" in ran.err


def test_the_version(run):
    ran = run("--version")
    assert (ran.code, ran.out.split()[0]) == (0, "eyespot")


def test_an_unknown_flag_is_wrong_usage_of_its_command(run):
    ran = run("methods", "digits", "--wrong")
    assert ran.code == 2
    assert ran.err.startswith("usage: eyespot methods ")
    assert ran.err.endswith("eyespot methods: error: unrecognized arguments: --wrong\n")
    ran = run("methods", "--modle=digits")
    assert "unrecognized arguments: --modle=digits; did you mean '--model'?" in ran.err
    assert run("--wrong").err.startswith("usage: eyespot [")
    assert "unrecognized arguments: --jso; did you mean '--json'?" in run("methods", "--jso").err


_PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from eyespot.cli.main import main
sys.exit(main({words!r}))
"""


def _run_without(module, *words):
    program = _PROGRAM.format(module=module, words=list(words))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("torch", ["models"], "export"),
        ("onnx", ["check", os.curdir], "export"),
        ("grpc_health", ["serve", os.curdir], "serve"),
    ],
)
def test_a_missing_extra_is_one_sentence_with_the_command_to_run(module, words, extra):
    ran = _run_without(module, *words)
    assert ran.returncode == 1
    [line] = [line for line in ran.stderr.splitlines() if "error" in line]
    assert line == (
        f"eyespot: error: `eyespot {words[0]}` needs {module}, which is not installed: "
        f"pip install 'eyespot[{extra}]'"
    )


@pytest.mark.parametrize("command", ["optimize", "inspect"])
def test_a_model_that_is_not_there_is_told_before_anything_is_loaded(tmp_path, command):
    ran = _run_without("torch", command, str(tmp_path / "net"))
    assert ran.returncode == 1
    assert ran.stderr == f"eyespot: error: no model 'net' in {tmp_path}; its models: none\n"


def test_what_takes_long_is_said_before_it_begins():
    ran = _run_without("torch", "models")
    assert ran.stderr.startswith("eyespot: loading PyTorch\n")


def test_the_server_itself_tells_that_its_runtime_is_missing(tmp_path):
    ran = _run_without("onnxruntime", "serve", str(tmp_path))
    assert ran.returncode == 1
    assert "pip install 'eyespot[serve]'" in ran.stderr


def test_a_missing_module_of_our_own_is_loud(monkeypatch):
    monkeypatch.setitem(SUBCOMMANDS, "models", Subcommand("eyespot.cli.nowhere", "x"))
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        main(["models"])


def test_an_interrupt_has_the_exit_code_of_shells(monkeypatch):
    def interrupt(arguments, name):
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "_run", interrupt)
    assert main(["models"]) == 130


def test_it_runs_as_a_module_and_loads_no_framework_for_its_help():
    program = (
        "import sys; from eyespot.cli.main import main; code = main(['infer', '--help']);"
        "print(code, *{'torch', 'onnxruntime', 'onnx'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "0"
    ran = subprocess.run(
        [sys.executable, "-m", "eyespot.cli", "status", "--server", "127.0.0.1:1"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 3


def test_a_reader_that_leaves_early_is_no_fault():
    ran = subprocess.run(
        f"{sys.executable} -m eyespot.cli --help | true", shell=True, capture_output=True, text=True
    )
    assert ran.stderr == ""
