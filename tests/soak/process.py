"""What a process holds, as Linux tells it in /proc."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """What a process held at one moment; `minutes` since the load began."""

    minutes: float
    memory_mib: float  # resident, without the pages of files
    descriptors: int
    threads: int


def sample(pid: int, minutes: float) -> Sample:
    """Looks at a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    found = dict(re.findall(r"^(RssAnon|Threads):\s+(\d+)", status, re.MULTILINE))
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Sample(minutes, int(found["RssAnon"]) / 1024, descriptors, int(found["Threads"]))
