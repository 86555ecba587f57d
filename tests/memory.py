"""What a process has in memory."""

import re
from pathlib import Path


def resident_mib(pid: int) -> float:
    """Return a process's resident memory."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024
