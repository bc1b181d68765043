"""Which weights and which configuration a study names. Nothing here needs torch: loading is in `loading`."""

from __future__ import annotations

from pathlib import Path

import yaml

from fewframes.core.errors import UserError
from fewframes.core.files import digest, read_yaml
from fewframes.core.weights import Published, Weights, registry, resolve

RANDOM = "random"
"""In place of weights: numbers drawn at random, with which labels mean nothing."""

SAM_CONFIGS = ("vit_b", "vit_l", "vit_h", "compact", "small")
"""SAM's configurations: those of its weights, and two of ours, of which the small one has none."""

SAM, SAM2 = "segment-anything", "sam2"
"""The packages whose weights these are."""

_COMPACT = {SAM: "sam_compact", SAM2: "sam2_compact"}
"""What `compact` stands for, by package: the weights that come with Fewframes."""

PACKAGES = {
    "propagation.sam2": SAM2,
    "refinement.sam_points": SAM,
    "refinement.sam_points_guarded": SAM,
    "refinement.sam_box": SAM,
    "refinement.automask": SAM2,
}
"""The methods that need weights, as they stand in the config, and whose."""


def chosen_weights(
    weights: str, config: str, folder: Path, package: str = SAM2, key: str = "propagation.sam2"
) -> tuple[Weights | None, str]:
    """The file of weights and the configuration that a method's `weights` and `config` name.

    `weights` is a published name (the file lies in `folder`), `compact` (ours, shipped), a local file (.pt, .pth,
    .safetensors), or `random`, for which there is no file. The configuration is `config`, or the one that the weights
    were published for, where that is empty. Raises `UserError` for weights that are absent, damaged or another
    package's, and where nothing tells the configuration.
    """
    if weights == RANDOM:
        check_configured(config, key)
        return None, config
    entry = published_weights(weights, package, key)  # before a file that could not be used is missed
    found = resolve(entry.name if entry else weights, folder)
    if found.published is not None:
        _check_package(found.published, weights, package, key)
        check_config(config, found.published, package, key)
        return found, config or published_config(found.published)
    if not config:
        raise UserError(
            f"{weights} is no published file, so that nothing tells which model it is of: set {key}.config."
        )
    return found, config


def check_configured(config: str, key: str = "propagation.sam2") -> None:
    """Raise `UserError` where no configuration is named, as one must be for random weights."""
    if not config:
        raise UserError(f"Random weights have no configuration of their own: set {key}.config (`small` for tests).")


def check_config(config: str, entry: Published | None, package: str, key: str) -> None:
    """Raise `UserError` for a configuration that is not one of the package's, or not that of published weights."""
    if package == SAM and config not in ("", *SAM_CONFIGS):
        raise UserError(f"There is no SAM configuration '{config}': set {key}.config to {', '.join(SAM_CONFIGS)}.")
    own = published_config(entry) if entry else config
    if config not in ("", own) and Path(config).suffix not in (".yaml", ".yml"):
        raise UserError(f"The weights {entry and entry.name} are of {own}, not of '{config}': leave {key}.config out.")


def published_weights(weights: str, package: str = SAM2, key: str = "propagation.sam2") -> Published | None:
    """The published or shipped weights of that name; None for a local file and for `random`.

    Raises `UserError` for the name of another package's weights.
    """
    entry = registry().get(_COMPACT[package] if weights == "compact" else weights)
    if entry is not None:
        _check_package(entry, weights, package, key)
    return entry


def published_config(entry: Published) -> str:
    """The name of the packaged configuration that published weights build, such as `sam2.1_hiera_l`."""
    return Path(entry.config).stem


def config_digest(config: str) -> str:
    """What tells that a configuration changed: a packaged one's name, or a digest of what counts in a YAML file.

    Raises `UserError` where the file cannot be read.
    """
    if Path(config).suffix not in (".yaml", ".yml"):
        return config
    content = read_yaml(config)
    return digest(yaml.safe_dump(content.get("model") if isinstance(content, dict) else content))


def _check_package(entry: Published, weights: str, package: str, key: str) -> None:
    if entry.package != package:
        which = f"{weights} are" if weights in (entry.name, "compact") else f"{weights} is {entry.name},"
        ours = [e.name for e in registry().values() if e.package == package]
        raise UserError(
            f"{which} weights of {entry.package}, not of {package}: set {key}.weights to one of {', '.join(ours)}."
        )
