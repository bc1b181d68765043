"""When a training must leave off before its end: at a signal, or shortly before its job's time is up."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from types import FrameType

from fewframes.core.errors import UserError

JOB_END = "SLURM_JOB_END_TIME"
"""Where a job is told when its time is up, in seconds since 1970 (Slurm's `sbatch`, "OUTPUT ENVIRONMENT VARIABLES")."""
UNFINISHED = 75
"""Exit code of a training that left off for want of time (`EX_TEMPFAIL` of BSD's sysexits.h: try again)."""
_RECENT = 10
"""Iterations that count: the first may take minutes, in which workers start or the network is compiled."""
_SPARE = 30.0
"""Seconds before a job's end that are kept for the last checkpoint and for what the job does after."""


class Stopping:
    """What calls a training off: `reason` is empty while nothing does, and `code` its exit code then."""

    def __init__(self, end: float | None) -> None:
        self._end = end
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._beaten = time.monotonic()
        self.reason = ""
        self.code = 0

    def signalled(self, number: int, _: FrameType | None) -> None:
        """Note a signal."""
        self.reason, self.code = f"by {signal.Signals(number).name}", 128 + number

    def due(self) -> bool:
        """Whether to leave off now; asked once an iteration, of which the slowest of late must still fit in twice."""
        now = time.monotonic()
        self._recent.append(now - self._beaten)
        self._beaten = now
        if not self.reason and self._end is not None:
            left = self._end - time.time()
            if left < _SPARE + 2 * max(self._recent):
                self.reason, self.code = f"{max(0, left):.0f} s before its job's time is up", UNFINISHED
        return bool(self.reason)


@contextlib.contextmanager
def stopping() -> Iterator[Stopping]:
    """Watch for SIGTERM and SIGUSR1, instead of dying of them, and for the job's end, until left."""
    stop = Stopping(_job_end())
    before = {number: signal.signal(number, stop.signalled) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _job_end() -> float | None:
    told = os.environ.get(JOB_END, "")
    try:
        return float(told) if told else None
    except ValueError as error:
        raise UserError(f"{JOB_END} is '{told}' and should be seconds since 1970: unset it or correct it.") from error
