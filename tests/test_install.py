"""A built wheel, installed beside nothing but what its metadata asks for.

The distributions come from this environment by links, so that no network is needed.
"""

import importlib.metadata
import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-c",
         f"from hatchling.build import build_wheel; build_wheel({str(folder)!r})"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


def install(wheel, folder, extras):
    """Make an environment in `folder` with the wheel and the closure of its requirements."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--target", site, wheel],
        check=True,
    )  # fmt: skip
    (own,) = importlib.metadata.distributions(name="eyespot", path=[str(site)])
    for distribution in closure(own, extras):
        link(distribution, site)
    return python


def closure(distribution, extras):
    """Every distribution that must be there for this one with these extras."""
    found, waiting = {}, [(distribution, frozenset(extras))]
    while waiting:
        current, wanted = waiting.pop()
        for text in current.requires or []:
            requirement = Requirement(text)
            environments = [{"extra": extra} for extra in (wanted or {""})]
            if requirement.marker and not any(map(requirement.marker.evaluate, environments)):
                continue
            if requirement.name not in found:
                found[requirement.name] = importlib.metadata.distribution(requirement.name)
                waiting.append((found[requirement.name], frozenset(requirement.extras)))
    return found.values()


def link(distribution, site):
    tops = {file.parts[0] for file in distribution.files if ".." not in file.parts}
    for top in tops - {"__pycache__"}:
        target = Path(distribution.locate_file(top))
        if target.is_dir() and (site / top).exists():  # a shared namespace, such as google/
            for child in target.iterdir():
                if not (site / top / child.name).exists():
                    (site / top / child.name).symlink_to(child)
        elif top == "google":
            (site / top).mkdir()
            for child in target.iterdir():
                (site / top / child.name).symlink_to(child)
        elif not (site / top).exists():
            (site / top).symlink_to(target)


def python_says(python, program):
    ran = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


HAVE = """
import importlib.util
names = ["torch", "onnxruntime", "onnx", "rich", "matplotlib"]
"""


def test_without_extras_the_client_works(wheel, tmp_path):
    python = install(wheel, tmp_path, extras=[])
    program = HAVE + (
        "import eyespot.client\n"
        "print(eyespot.client.Client.__name__, [n for n in names if importlib.util.find_spec(n)])"
    )
    assert python_says(python, program) == "Client []"


def test_without_extras_a_missing_one_is_named(wheel, tmp_path):
    python = install(wheel, tmp_path, extras=[])
    for command, extra in (["serve", "x"], "serve"), (["models"], "export"):
        ran = subprocess.run(
            [python, "-I", "-m", "eyespot.cli", *command], capture_output=True, text=True
        )
        assert ran.returncode != 0
        assert f"pip install 'eyespot[{extra}]'" in ran.stderr
        assert "Traceback" not in ran.stderr


def test_with_serve_and_no_torch_it_serves(wheel, tmp_path, tiny_repository):
    python = install(wheel, tmp_path / "env", extras=["serve"])
    assert (
        python_says(python, HAVE + "print([n for n in names if importlib.util.find_spec(n)])")
        == "['onnxruntime']"
    )
    port_file = tmp_path / "port"
    server = subprocess.Popen(
        [python, "-I", "-m", "eyespot.cli", "serve", tiny_repository,
         "--port", "0", "--port-file", port_file]
    )  # fmt: skip
    try:
        program = (
            "import json, pathlib, time, numpy as np\n"
            "from eyespot.client import Client\n"
            f"port_file = pathlib.Path({str(port_file)!r})\n"
            "while not port_file.exists(): time.sleep(0.05)\n"
            "port = port_file.read_text().strip().rpartition(':')[2]\n"
            "with Client(f'127.0.0.1:{port}') as client:\n"
            "    result = client.infer('double', np.array([[1.0, 2.0]], np.float32))\n"
            "    print(json.dumps(result.outputs['doubled'].tolist()))\n"
        )
        assert json.loads(python_says(python, program)) == [[2.0, 4.0]]
    finally:
        server.terminate()
        assert server.wait(timeout=120) == 0
