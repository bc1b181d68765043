"""How a labelling method is found by its name in the config, and its settings are checked."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType
from typing import Any, TypeVar

from fewframes.core.errors import UserError

RANDOM_WEIGHTS = "random-weights"
"""The folder, within a method's own, of labels that a network with random weights made: they mean nothing."""

S = TypeVar("S")

_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def made_at_random(file: PurePath) -> bool:
    """Whether a label file's labels come from a network with random weights."""
    return file.parent.name == RANDOM_WEIGHTS


def marked_method(method: str, files: Iterable[PurePath]) -> str:
    """How a table names the method of some label files: with a mark where they mean nothing."""
    return f"{method} (random weights)" if any(map(made_at_random, files)) else method


def method_module(room: str, method: str, known: Sequence[str]) -> ModuleType:
    """Import the module `fewframes.labelling.<room>.<method>`; raises `UserError` for a method not `known`.

    Imported only when chosen, so that a method which needs torch costs nothing to those which do not.
    """
    check_method(room, method, known)
    return importlib.import_module(f"fewframes.labelling.{room}.{method}")


def check_method(room: str, method: str, known: Sequence[str]) -> None:
    """Raise `UserError` for a method that is not `known`."""
    if method not in known:
        raise UserError(f"The {room} method '{method}' is unknown: choose one of {', '.join(known)}.")


def parse_settings(kind: type[S], settings: Mapping[str, Any], owner: str) -> S:
    """Fill the frozen dataclass `kind`, all of whose fields have defaults, from a method's part of the config.

    `owner` names the method in the error: raises `UserError` for a key the method does not have, and for a
    value that is not of its default's type (a whole number passes for a fractional one).
    """
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in defaults:
            known = f"choose among {', '.join(defaults)}" if defaults else "it has none"
            raise UserError(f"'{key}' is not a setting of {owner}: {known}.")
        wanted = type(defaults[key])
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise UserError(f"The setting '{key}' of {owner} is {value!r}: give {_NAMES[wanted]}.")
        values[key] = value
    return kind(**values)


def at_least(owner: str, key: str, value: float, least: float) -> None:
    """Raise `UserError` where the setting `key` of `owner` is below `least` (or not a number)."""
    if not value >= least:
        raise UserError(f"The setting '{key}' of {owner} is {value}: give at least {least}.")


@dataclass(frozen=True)
class Limits:
    """What the values of settings may be, by key: one of the `choices`, `least` or more, for `shares` 0 to 1."""

    choices: Mapping[str, Sequence[str]]
    least: Mapping[str, float]
    shares: Collection[str] = ()

    def check(self, owner: str, *parts: Any) -> None:
        """Raise `UserError` for the first value in the dataclasses `parts` that is none, or not finite."""
        for part in parts:
            for field in dataclasses.fields(part):
                self._check(owner, field.name, getattr(part, field.name))

    def _check(self, owner: str, key: str, value: Any) -> None:
        if key in self.choices and value not in self.choices[key]:
            raise UserError(
                f"The setting '{key}' of {owner} is '{value}': choose one of {', '.join(self.choices[key])}."
            )
        if key in self.least:
            at_least(owner, key, value, self.least[key])
        if key in self.shares and not 0 <= value <= 1:
            raise UserError(f"The setting '{key}' of {owner} is {value}: give a share from 0 to 1.")
        if isinstance(value, float) and math.isinf(value):
            raise UserError(f"The setting '{key}' of {owner} is {value}: give a finite number.")
