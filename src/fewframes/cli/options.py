"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

import fewframes
from fewframes.core.errors import UserError


class Settings(click.ParamType[Any]):
    """Settings as inline JSON, or a YAML or JSON file."""

    name = "JSON or file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse what was typed; raises `UserError` where it is no mapping."""
        if not isinstance(value, str):
            return value
        try:
            text = value if value.lstrip().startswith("{") else Path(value).read_text(encoding="utf-8")
            settings = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"Settings '{value}' are neither JSON nor a readable YAML file ({error}).") from error
        if not isinstance(settings, dict):
            raise UserError(f"Settings '{value}' must map keys to values.")
        return _Given(settings)


class _Given(dict[str, Any]):
    """Settings that say which key they lack."""

    def __missing__(self, key: str) -> Any:
        raise UserError(
            f"--settings lacks the key '{key}': `snakemake -n -p` shows this stage with all of its settings."
        )


Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


def path(name: str, help_text: str) -> Callable[[Command], Command]:
    """A required option that names a file or folder."""
    return click.option(name, type=PATH, required=True, help=help_text)


METHOD_AND_FILE = (str, PATH)
"""The type of an option that takes a method and its CSV."""

labels = path("--labels", "The labels made: a method's collected CSV.")
root = path("--root", "The dataset's folder.")
results = path("--results", "The dataset's folder of results.")
out = path("--out", "What to write.")
classes = click.option("--classes", required=True, help="Class table: a name or a YAML file.")
method = click.option("--method", required=True, help="The method's name.")
settings = click.option("--settings", type=Settings(), default="{}", help="The stage's settings: JSON, or a file.")
housekeeping = click.option(
    "--housekeeping", type=Settings(), default="{}", help="More settings, which no result depends on."
)
threads = click.option("--threads", default=0, show_default=True, help="CPU threads; 0 leaves it to the libraries.")
device = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
catalogue = path("--catalogue", "The catalogue of experiments (YAML).")
config = click.argument("config", type=PATH, default="config.yaml")


def _repository() -> Path:
    """The repository that the package is installed from; the working directory where it is a plain copy."""
    installed = Path(fewframes.__file__).parents[2]
    return installed if (installed / "workflow" / "schemas").is_dir() else Path()


repository = click.option(
    "--repository",
    type=PATH,
    default=_repository,
    show_default="of this installation",
    help="Where the Snakefile lies.",
)


def together(*several: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several options as one decorator, shown in this order."""

    def add(command: Command) -> Command:
        for option in reversed(several):
            command = option(command)
        return command

    return add


shard = path("--shard", "The clips to label: one shard of the plan.")
labelling = together(shard, method, settings, root, classes, results, out, threads, housekeeping)
