"""The SHA-256 of a file, by which a manifest tells what was exported."""

import hashlib
from pathlib import Path

# Read and hashed in few steps: after each a thread waits for those that run Python.
_BLOCK_BYTES = 16 << 20


def sha256_of(path: Path) -> str:
    """Hash a file, as lower-case hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
