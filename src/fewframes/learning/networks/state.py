"""Files of weights as state dictionaries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from fewframes.core.errors import UserError


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a file, safetensors or a state dictionary of PyTorch; no code in it is run.

    Raises whatever the reader does for a file that is damaged or something else.
    """
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


@contextlib.contextmanager
def must_fit(path: Path, wanted: str) -> Iterator[None]:
    """Turn whatever is wrong with a file of backbone weights into a `UserError`; `wanted` is what it should be of."""
    try:
        yield
    except Exception as error:  # torch.load fails in too many ways to list
        raise UserError(
            f"network.pretrained {path} does not fit {wanted} ({type(error).__name__}: {str(error).splitlines()[0]}): "
            "give a file of torchvision's or timm's weights for it, or null."
        ) from error
