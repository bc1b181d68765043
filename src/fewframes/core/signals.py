"""Signals on their way from a scheduler to the process that heeds them."""

from __future__ import annotations

import os
import signal
from types import FrameType


def pass_on(number: int) -> None:
    """From here on, send a signal of this number to all processes of this one's group, and outlive it."""

    def handle(_: int, __: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        os.killpg(0, number)
        signal.signal(number, handle)

    signal.signal(number, handle)
