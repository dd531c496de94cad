"""The door to torchvision, each time in a process that has not opened it yet."""

import os
import subprocess
import sys
import textwrap


def run(program, *, first_path=None):
    environment = dict(os.environ)
    if first_path is not None:
        environment["PYTHONPATH"] = str(first_path)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_torchvision_can_be_had_after_somebody_failed_to_import_it():
    out = run("""
        try:
            import torchvision  # fails where its compiled library cannot be loaded
        except RuntimeError:
            pass
        from eyespot.zoo.torchvision_models import load_torchvision
        first = load_torchvision()
        assert load_torchvision() is first
        import torchvision
        assert torchvision is first
        from torchvision.transforms import v2
        from torchvision.models import resnet18
        print(v2.Resize(8), torchvision.models.get_model_weights("resnet18").DEFAULT.name)
    """)
    assert "Resize" in out
    assert "IMAGENET1K_V1" in out


def test_torchvision_that_is_absent_is_one_sentence_with_the_command():
    out = run("""
        import sys
        sys.modules["torchvision"] = None
        from eyespot.zoo import MissingTorchvisionError, create_model
        create_model("lenet5")
        try:
            create_model("resnet18")
        except MissingTorchvisionError as error:
            print(error)
    """)
    assert out == "torchvision is not installed: pip install 'eyespot[export]'\n"


def test_torchvision_that_does_not_fit_leaves_nothing_behind(tmp_path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "extension.py").touch()
    (package / "__init__.py").write_text(
        "from . import extension\nraise RuntimeError('compiled with CUDA 13')\n"
    )
    out = run(
        """
        import sys
        from eyespot.zoo import MissingTorchvisionError, load_torchvision
        try:
            load_torchvision()
        except MissingTorchvisionError as error:
            print(error)
        print([name for name in sys.modules if name.startswith("torchvision")])
        """,
        first_path=tmp_path,
    )
    assert "compiled with CUDA 13" in out
    assert "pip install" in out
    assert out.endswith("[]\n")
