"""The device that a model runs on, and in which precision."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version

import torch

from fewframes.core.device import choose_device, device_name, short_of_memory
from fewframes.labelling.models.chosen import ModelHousekeeping


@dataclass(frozen=True)
class Device:
    """Where a model runs, the device's own `name`, and whether it is to compute in bfloat16."""

    at: torch.device
    name: str
    bfloat16: bool

    @property
    def gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.at.type == "cuda"

    @property
    def precision(self) -> str:
        """bfloat16 or float32."""
        return "bfloat16" if self.bfloat16 else "float32"

    def notes(self, package: str) -> Mapping[str, str]:
        """What is worth keeping with labels: the device, and the versions of torch and of the model's `package`."""
        versions = {"torch": torch.__version__, package: version(package)}
        return {"device": self.name, "precision": self.precision, **versions}


def chosen_device(run: ModelHousekeeping, precision: str, owner: str, *, processors: bool = False) -> Device:
    """The device for a method, `owner` in messages; raises `UserError` where it cannot be had.

    `precision` is bfloat16, float32 or auto: bfloat16 on a GPU that has it and, with `processors`, on a processor that
    has it.
    """
    at = choose_device(run.device, owner)
    gpu = at.type == "cuda"
    if run.threads and not gpu:
        torch.set_num_threads(run.threads)
    half = precision == "bfloat16" or (precision == "auto" and (gpu or processors) and native_bfloat16(at))
    return Device(at, device_name(at), half)


def memory_ends_in_a_sentence(owner: str) -> AbstractContextManager[None]:
    """See `short_of_memory`; `owner` is what memory does not suffice for."""
    return short_of_memory(
        f"Memory does not suffice for {owner}: give the job more, leave the GPU to it alone, or take a smaller model "
        "or fewer objects; what was finished before is kept."
    )


def native_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 itself: elsewhere it is emulated, slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # What the processor has is told by functions that PyTorch calls private: absent, it has nothing.
    asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in asks)
