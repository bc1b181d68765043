"""SAM 2 models: from a configuration of the package `sam2` or one of our own, with weights from a file or random.

The package's model classes are used as they are. Images are prepared as its video loader does it, to the bit:
Pillow's bicubic resize to a square (the aspect ratio is not kept), then ImageNet's mean and deviation. Only the
decoding is ours, so that PNGs are read as they are and need not become JPEGs first.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from fewframes.core.errors import UserError
from fewframes.labelling.models.loading import load_weights

SIZES = tuple(f"{version}_hiera_{size}" for version in ("sam2.1", "sam2") for size in ("t", "s", "b+", "l"))
"""The package's configurations by name."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's mean and deviation by RGB channel, as `sam2.utils.misc.load_video_frames` has them."""

_BASE = "sam2.modeling.sam2_base.SAM2Base"

_COMPACT, _SMALL = (Path(__file__).with_name(f"{name}_sam2.yaml") for name in ("compact", "small"))
"""`compact`, in the package's own manner; `small`, where it differs from `sam2.1_hiera_t`."""


def model_config(config: str, image_size: int | None = None) -> dict[str, Any]:
    """The constructor arguments of a model: `compact`, `small`, one of `SIZES`, or a YAML file with a key `model`.

    `image_size` replaces the configuration's own. Raises `UserError` for a file that is no such
    configuration: it may name the package's model classes and no others.
    """
    if config == "small":
        model = _read(_packaged("sam2.1_hiera_t"), _SMALL)
    elif config == "compact":
        model = _read(_COMPACT)
    elif config in SIZES:
        model = _read(_packaged(config))
    elif Path(config).suffix in (".yaml", ".yml"):
        model = _read(Path(config))
        if strange := sorted(_targets(model) - _targets(_read(_packaged("sam2.1_hiera_t")))):
            raise UserError(f"{config} names {strange[0]}, which is no model class of sam2: name one that is.")
        _check_plain(model, config)
    else:
        raise UserError(
            f"There is no SAM 2 configuration '{config}': name compact, small, {', '.join(SIZES)}, or a YAML file."
        )
    if model.get("non_overlap_masks_for_mem_enc"):
        raise UserError(f"{config}: set non_overlap_masks_for_mem_enc to false, as one batch holds several clips.")
    if image_size is not None:
        model["image_size"] = image_size
    if type(model.get("image_size")) is not int or model["image_size"] % 32 or model["image_size"] < 64:
        raise UserError(f"The image_size of {config} is {model.get('image_size')}: give a multiple of 32, from 64 on.")
    return {**model, "_target_": _BASE}


def build_model(config: str, weights: Path | None = None, *, image_size: int | None = None, seed: int = 0) -> nn.Module:
    """The model `SAM2Base` of a configuration (see `model_config`), for evaluation, on the CPU, in float32.

    `weights` is a file that `load_weights` reads; None draws weights at random from `seed` (labels made
    with them mean nothing), and leaves torch's own generator as it was. Raises `UserError` for a
    configuration that cannot be built and for weights that are absent, damaged or of another model.
    """
    arguments = model_config(config, image_size)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: nn.Module = instantiate(arguments, _recursive_=True)
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        reason = next(iter(str(cause).splitlines()), type(cause).__name__)  # a bare assertion says nothing
        raise UserError(f"The SAM 2 configuration {config} cannot be built ({reason}): correct it.") from error
    if weights is not None:
        load_weights(model, weights, f"SAM 2 configuration {config}", within="model")
    return model.eval().requires_grad_(False)


def resize(model: Any, image_size: int) -> None:
    """Let a built model take images of another size: no weights depend on it."""
    prompts, cells = model.sam_prompt_encoder, image_size // model.backbone_stride
    model.image_size, model.sam_image_embedding_size = image_size, cells
    prompts.input_image_size = (image_size, image_size)
    prompts.image_embedding_size, prompts.mask_input_size = (cells, cells), (4 * cells, 4 * cells)


def normalised(frames: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
    """Frames of `reading.squared` as the model's input, `float32 [B, 3, image_size, image_size]` on `device`."""
    pixels = torch.from_numpy(np.stack(frames)).to(device).permute(0, 3, 1, 2).float() / 255.0
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))
    return (pixels - mean) / std


def _packaged(name: str) -> Path:
    spec = importlib.util.find_spec("sam2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("The package sam2 is not installed: install Fewframes with all its requirements again.")
    return Path(spec.submodule_search_locations[0]) / "configs" / name.split("_")[0] / f"{name}.yaml"


def _read(path: Path, *changes: Path) -> dict[str, Any]:
    """The `model` of a YAML file, with what others set otherwise."""
    try:
        # As the package itself reads them: to plain YAML, 1e-6 is a text.
        content = OmegaConf.to_container(OmegaConf.merge(*map(OmegaConf.load, (path, *changes))))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} is no readable YAML ({' '.join(str(error).split())}): correct it.") from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise UserError(f"{path} is no configuration of SAM 2: it needs a key 'model' with the model's parts.")
    return model


def _check_plain(part: Any, config: str) -> None:
    """Raise `UserError` for what would be more than values once the model is built of it.

    OmegaConf's `${...}` makes any text into a part, one that names a function of any kind too; and a trunk's
    `weights_path` is loaded by the package itself.
    """
    if isinstance(part, Mapping):
        if part.get("weights_path") is not None:
            raise UserError(f"{config} has a weights_path: leave it out, and name the file by the method's `weights`.")
        for value in (*part, *part.values()):
            _check_plain(value, config)
    elif isinstance(part, list):
        for value in part:
            _check_plain(value, config)
    elif isinstance(part, str) and "${" in part:
        raise UserError(f"{config} has '{part}', which is to be worked out while the model is built: write the value.")


def _targets(part: Any) -> set[str]:
    """Every class that a configuration names."""
    return set(_named(part))


def _named(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from _named(value)
    elif isinstance(part, list):
        for value in part:
            yield from _named(value)
