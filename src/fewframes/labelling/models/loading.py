"""Files of weights into models: tensors alone, and only those that fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from fewframes.core.errors import UserError


def load_weights(model: nn.Module, path: Path, what: str, within: str = "") -> None:
    """Load a file of weights into `model`; `what` names in messages what it is, such as `SAM 2 configuration small`.

    A file `.safetensors` is the state dictionary itself; any other is PyTorch's, and has it under the key `within`
    where that is not empty. Only tensors are read, no code is run. Raises `UserError` for weights that are absent,
    damaged or of another model.
    """
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state[within] if within else state
        reason = _misfit(model.state_dict(), state)
        if not reason:
            model.load_state_dict(state)
            return
    except FileNotFoundError:
        raise UserError(f"The weights {path} do not exist: correct their path.") from None
    except pickle.UnpicklingError:
        # In place of torch's words, which advise to run what the file holds.
        reason = "UnpicklingError, it is no file of PyTorch's, or holds more than tensors"
    except Exception as error:  # torch.load fails in too many ways to list
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    raise UserError(f"The weights {path} do not fit the {what} ({reason}): give the checkpoint of that model, whole.")


def _misfit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """What keeps a state dictionary from being another's, in words; empty where nothing does."""
    missing = [key for key in wanted if key not in given]
    unexpected = [key for key in given if key not in wanted]
    shapes = {key: (given[key].shape, wanted[key].shape) for key in wanted if key in given}
    other = [f"{key}, {[*has]} for {[*needs]}" for key, (has, needs) in shapes.items() if has != needs]
    found = {"Missing keys": missing, "unexpected keys": unexpected, "other shapes": other}
    return "; ".join(f"{what}: {len(keys)}, the first {keys[0]}" for what, keys in found.items() if keys)
