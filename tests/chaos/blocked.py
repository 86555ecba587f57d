"""
The worker with an event loop that somebody's code blocks, again and again, each time for so long.

    python -m tests.chaos.blocked SECONDS TIMES run --config ...
"""

import sys
import time

from worker.cli import main
from worker.sender import Sender


def block(seconds: float, times: int) -> None:
    """Let the first *times* messages block the loop, as a library that is not made for it would."""
    left = times
    real = Sender.handle

    async def handle(self, record) -> None:
        nonlocal left
        if left:
            left -= 1
            time.sleep(seconds)
        await real(self, record)

    Sender.handle = handle


if __name__ == "__main__":
    block(float(sys.argv[1]), int(sys.argv[2]))
    sys.argv = ["sms-worker", *sys.argv[3:]]
    main()
