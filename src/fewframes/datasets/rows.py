"""Tables that a user wrote by hand: rows with their line numbers, and paths that stay in the dataset's folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from fewframes.core.clips import PREPARED
from fewframes.core.errors import UserError


def read_rows(path: Path, columns: Sequence[str], needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row of a CSV, as a dictionary of all `columns`, with the number of the line it begins on.

    Columns left out, and cells left out at a row's end, are empty. Raises `UserError` for a column that is not
    among `columns`, for one of `needed` that is missing, and for what is no CSV.
    """
    try:
        # `-sig`: spreadsheets put a byte order mark in front.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, columns, needed)
            line = reader.line_num + 1
            for cells in reader:
                if len(cells) > len(header):
                    raise UserError(
                        f"{path}, line {line}: {len(cells)} cells under {len(header)} columns: "
                        'put a name that holds a comma in "quotes".'
                    )
                if cells:
                    yield line, {**dict.fromkeys(columns, ""), **dict(zip(header, cells, strict=False))}
                line = reader.line_num + 1
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: write it, or name another in dataset.options.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}): save it as UTF-8 text, cells set off by commas.") from error


def inside(path: str) -> str:
    """A path in its normal form; raises `UserError` for one that leads out of the folder or that no CSV can hold."""
    normal = PurePosixPath(path)
    if normal.is_absolute() or ".." in normal.parts:
        raise UserError(
            f"{path!r} leads out of the dataset's folder: give a path within it (a link there may lead elsewhere)."
        )
    if "\r" in path:
        raise UserError(f"{path!r} holds a carriage return, which no CSV keeps: rename the file.")
    if str(normal).startswith(PREPARED):
        raise UserError(f"{path!r} begins with '{PREPARED}', which is taken: rename the file.")
    return str(normal)


def option_path(key: str, value: object) -> str:
    """The path that `dataset.options` has under `key`, normal; raises `UserError` for what is none `inside`."""
    if not isinstance(value, str) or not value:
        raise UserError(f"dataset.options.{key} is {value!r}: give a path within the dataset's folder.")
    try:
        return inside(value)
    except UserError as error:
        raise UserError(f"dataset.options.{key}: {error}") from None


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; dead links, loops of links and impossible names are not there."""
    try:
        return path.exists()
    except OSError:
        return False


def _check_header(path: Path, header: list[str], columns: Sequence[str], needed: Sequence[str]) -> None:
    if len(header) == 1 and (mark := next((mark for mark in ";\t" if mark in header[0]), "")):
        raise UserError(f"{path} sets its columns off by {mark!r}: save it with commas.")
    if unknown := [name for name in header if name not in columns]:
        named = ", ".join(map(repr, unknown))
        raise UserError(f"{path} has columns that mean nothing here ({named}): choose among {', '.join(columns)}.")
    if missing := [name for name in needed if name not in header]:
        raise UserError(f"{path} has no column '{missing[0]}': it needs {', '.join(needed)}.")
    if len(set(header)) < len(header):
        raise UserError(f"{path} has a column twice: keep one of each name.")
