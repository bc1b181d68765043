"""What a reader is given, and how it says what it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewframes.core.clips import Root
from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable

_NAMED = 3
"""Examples in a sentence; the whole list is `LeftOut.rows`."""


def reach(there: Callable[[int], bool], limit: int, step: int = 1) -> int:
    """The farthest offset towards `limit`, in steps of `step`, up to which `there(offset)` holds without a gap."""
    stride = step if limit > 0 else -step
    offset = 0
    while abs(offset + stride) <= abs(limit) and there(offset + stride):
        offset += stride
    return offset


class LeftOut:
    """What a reader found and does not use, by reason: nothing is skipped silently."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        """Note something left out; `reason` completes a sentence such as "3 left out: no image (a, b, c)"."""
        self._names.setdefault(reason, []).append(name)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Every (reason, name), sorted."""
        return sorted((reason, name) for reason, names in self._names.items() for name in names)

    def lines(self) -> Iterator[str]:
        """One line a reason: how many, and the first names."""
        for reason, names in sorted(self._names.items()):
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            yield f"{len(names)} left out: {reason} ({', '.join(sorted(names)[:_NAMED])}{more})"


@dataclass(frozen=True)
class Source:
    """A dataset as a reader meets it.

    `folder` is the dataset's own and only read; `prepared` is where what cannot be read as it is (polygons,
    colour pictures, videos) has been or will be written; `truth` is the folder of dense labels, if any.
    """

    folder: Path
    prepared: Path
    classes: ClassTable
    options: Mapping[str, Any] = field(default_factory=dict)
    truth: Path | None = None
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def root(self) -> Root:
        """What the paths of its clips are relative to."""
        return Root(self.folder, self.prepared)

    def choice(self, key: str, values: tuple[str, ...]) -> str:
        """The option `key`, one of `values`, the first by default; raises `UserError` for another."""
        value = str(self.options.get(key, values[0]))
        if value not in values:
            raise UserError(f"dataset.options.{key} is '{value}': choose {' or '.join(values)}.")
        return value
