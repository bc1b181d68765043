"""What a reader is given, and how it says what it leaves out."""

from __future__ import annotations

import os
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


def gap(there: Callable[[int], bool], first: int, last: int, offsets: tuple[int, int]) -> bool:
    """Whether a clip that reaches from `first` to `last` is cut by a gap: within `offsets` there is more beyond it."""
    return any(map(there, range(offsets[0], first))) or any(map(there, range(last + 1, offsets[1] + 1)))


class LeftOut:
    """What a reader found and does not use, by reason: nothing is skipped silently."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        """Note something left out; `reason` completes a sentence such as "3 left out: no image (a, b, c)".

        What no CSV can hold, of either, is noted as its escape (`\\xe9`, `\\r`).
        """
        self._names.setdefault(_writable(reason), []).append(_writable(name))

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Every (reason, name), sorted."""
        return sorted((reason, name) for reason, names in self._names.items() for name in names)

    def lines(self) -> Iterator[str]:
        """One line a reason: how many, and the first names."""
        for reason, names in sorted(self._names.items()):
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            yield f"{len(names)} left out: {reason} ({', '.join(sorted(names)[:_NAMED])}{more})"


def names(folder: Path, left_out: LeftOut) -> list[str]:
    """What a folder lists, sorted, without hidden files; nothing where there is no such folder.

    Names that no CSV can hold (not UTF-8, or with a carriage return) are noted in `left_out` and not listed. Raises
    `UserError` where the folder cannot be read.
    """
    try:
        listed = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): mend the link or its permissions.") from error
    if (together := "".join(listed)).isascii() and "\r" not in together:
        return listed
    usable = []
    for name in listed:
        if _writable(name) == name:
            usable.append(name)
        else:
            reason = "name with a carriage return" if "\r" in name else "name that is not UTF-8"
            left_out.add(reason, os.fspath(folder / name))
    return usable


def _writable(text: str) -> str:
    try:
        raw = text.encode(errors="surrogateescape")  # a file name's odd bytes
    except UnicodeEncodeError:  # half a character, as JSON can spell
        raw = text.encode(errors="backslashreplace")
    return raw.decode(errors="backslashreplace").replace("\r", "\\r")


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
