"""Files of weights as state dictionaries."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a file, safetensors or a state dictionary of PyTorch; no code in it is run.

    Raises whatever the reader does for a file that is damaged or something else.
    """
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
