"""Triton as pytriton's wheel brings it, with a `model.py` of its Python backend.

Runs in pytriton's own environment. It leaves out the process that pytriton adds, in which a bound
function runs behind the backend's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from pytriton.utils.distribution import get_libs_path, get_root_module_path, get_stub_path

_CONFIG = """
backend: "python"
max_batch_size: {rows}
input {{ name: "input" data_type: TYPE_FP32 dims: [ 1, 32, 32 ] }}
output {{ name: "logits" data_type: TYPE_FP32 dims: [ 10 ] }}
instance_group {{ kind: KIND_CPU count: 1 }}
dynamic_batching {{ max_queue_delay_microseconds: {delay} }}
"""


def main() -> None:
    """Lay out a repository, and become Triton."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("model", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--ports", nargs=2, help="of gRPC, and of HTTP")
    parser.add_argument("--rows", help="max_batch_size")
    parser.add_argument("--delay", help="of the batcher, in microseconds")
    options = parser.parse_args()
    version = options.folder / "repository" / options.name / "1"
    version.mkdir(parents=True)
    shutil.copy(options.model, version / "model.onnx")
    shutil.copy(Path(__file__).with_name("triton_model.py"), version / "model.py")
    config = _CONFIG.format(rows=options.rows, delay=options.delay)
    (version.parent / "config.pbtxt").write_text(config)
    _become_triton(
        "--model-repository", version.parent.parent,
        "--backend-directory", _backends(options.folder),
        "--grpc-address", "127.0.0.1", "--grpc-port", options.ports[0],
        "--allow-http", "False", "--allow-metrics", "False",
    )  # fmt: skip


def _backends(folder: Path) -> Path:
    """The Python backend, with the stub for this Python beside it."""
    backends = folder / "backends"
    shutil.copytree(get_root_module_path() / "tritonserver" / "backends", backends)
    shutil.copy(get_stub_path("{}.{}".format(*sys.version_info)), backends / "python")
    return backends


def _become_triton(*arguments: str | Path) -> None:
    server = get_root_module_path() / "tritonserver" / "bin" / "tritonserver"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LD_LIBRARY_PATH": str(get_libs_path())}
    os.execve(server, [str(server), *map(str, arguments)], environment)


if __name__ == "__main__":
    main()
