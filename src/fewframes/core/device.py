"""The device that a network runs on: a GPU where there is one, and no processor by mistake where one was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fewframes.core.errors import UserError
from fewframes.core.files import JOB
from fewframes.core.progress import say
from fewframes.core.stages import ALLOW_CPU


def choose_device(name: str, owner: str) -> torch.device:
    """The device by name, `owner` in messages: `auto` is a CUDA GPU where there is one, else a processor.

    Raises `UserError` where a GPU is named and there is none; and for `auto` within a job of Slurm, where hours on a
    processor are rather a mistake than a wish.
    """
    found = torch.cuda.is_available()
    if name.startswith("cuda") and not found:
        raise UserError(f"No GPU is to be seen, and the device of {owner} is {name}: give the job a GPU, or set auto.")
    if name == "auto" and not found and JOB in os.environ and not os.environ.get(ALLOW_CPU):
        raise UserError(
            f"No GPU is to be seen in this job ({os.environ[JOB]}), and {owner} would take hours on a processor: give "
            "the job a GPU; or, if you mean it, set the device to cpu, or allow_cpu in the config."
        )
    return torch.device(("cuda" if found else "cpu") if name == "auto" else name)


def announced_device(name: str, owner: str) -> torch.device:
    """The same, and says which it is."""
    device = choose_device(name, owner)
    say(f"{owner} on {device_name(device)}.")
    return device


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"


@contextmanager
def short_of_memory(sentence: str) -> Iterator[None]:
    """Turn what PyTorch raises where memory runs out, on a GPU or beside it, into a `UserError` of that sentence."""
    try:
        yield
    except RuntimeError as error:  # of which torch.OutOfMemoryError is one
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise UserError(sentence) from None
