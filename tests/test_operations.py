"""The programs that docs/operations.md shows run as they stand."""

import re
import sys
from pathlib import Path
from unittest.mock import MagicMock

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "operations.md").read_text()
PICTURE, LOG = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def _run(program, monkeypatch):
    """Give the client that a program made; tritonclient itself wants a process of its own."""
    triton = MagicMock()
    monkeypatch.setitem(sys.modules, "tritonclient", triton)
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", triton.grpc)
    exec(program, {})
    triton.grpc.InferenceServerClient.assert_called_once_with("127.0.0.1:8001")
    return triton.grpc


def test_a_picture_is_sent_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "photo.jpg").write_bytes(b"a photo")
    monkeypatch.chdir(tmp_path)
    triton = _run(PICTURE, monkeypatch)
    triton.InferInput.assert_called_once_with("image", (1, 1), "BYTES")
    picture = triton.InferInput.return_value
    assert picture.set_data_from_numpy.call_args.args[0].tolist() == [[b"a photo"]]
    client = triton.InferenceServerClient.return_value
    client.infer.assert_called_once_with("resnet18_image", [picture])


def test_the_log_is_changed(monkeypatch):
    client = _run(LOG, monkeypatch).InferenceServerClient.return_value
    client.update_log_settings.assert_called_once_with(
        {"log_verbose_level": 1, "log_format": "json"}
    )
