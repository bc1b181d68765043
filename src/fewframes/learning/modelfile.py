"""A trained network as a file: its weights, its settings and the names of its classes, safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from fewframes.core.errors import UserError
from fewframes.core.files import canonical_json, written_whole
from fewframes.core.labels import ClassTable
from fewframes.learning.networks import AUXILIARY, build_network


def save_model(path: str | Path, network: nn.Module, settings: Mapping[str, Any], classes: ClassTable) -> None:
    """Write the network without its auxiliary parts, with its settings and class names, as safetensors."""
    weights = {k: v.cpu().contiguous() for k, v in network.state_dict().items() if not k.startswith(f"{AUXILIARY}.")}
    # One entry: safetensors writes several in random order, and equal models shall be equal bytes.
    facts = canonical_json({"network": {**settings, "pretrained": None}, "classes": classes.names})
    with written_whole(path) as aside:
        aside.write_bytes(safetensors.torch.save(weights, {"fewframes": facts}))


def load_model(path: str | Path, classes: ClassTable) -> nn.Module:
    """A trained network, ready to predict; raises `UserError` for a damaged file or one of other classes."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["fewframes"])
        # A file may come from elsewhere: it names no other file to read.
        settings, names = {**facts["network"], "pretrained": None}, tuple(facts["classes"])
        weights = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no model of Fewframes ({error}): delete it and train again.") from error
    if names != classes.names:
        raise UserError(
            f"{path} tells {len(names)} classes apart, and not those of the class table "
            f"'{classes.name}': evaluate it with the table it was trained with."
        )
    try:
        with torch.device("meta"):  # settings that ask for more than the file holds take no memory
            build_network(settings, len(names), auxiliary=False).load_state_dict(weights, assign=True)
        network = build_network(settings, len(names), auxiliary=False)
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise UserError(f"{path} does not fit its own settings: delete it and train again.") from error
    return network.eval()
