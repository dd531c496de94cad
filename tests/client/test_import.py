import subprocess
import sys


def test_the_client_loads_no_framework():
    program = (
        "import sys, eyespot.client;"
        "print(*{'torch', 'onnxruntime', 'onnx', 'matplotlib', 'rich'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == []
