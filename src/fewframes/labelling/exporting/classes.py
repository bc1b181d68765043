"""What the ids and colours in a folder of labels mean: a CSV of classes, kept with exports and with corrections.

A class table may be edited while a review is out, or after it: labels are read by the classes they were written with.
"""

from __future__ import annotations

from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.core.files import read_csv, write_csv
from fewframes.core.labels import ClassTable, LabelClass

CLASSES = "classes.csv"
"""The file in every exported folder that says what its labels mean: one row a class."""

_COLUMNS = ("name", "id", "train_id", "red", "green", "blue")


def write_classes(path: Path, classes: ClassTable) -> None:
    """Write the classes of a table, evaluated or not, in its order."""
    write_csv(path, _COLUMNS, ((c.name, c.id, c.train_id, *c.rgb) for c in classes.classes))


def read_classes(path: Path) -> tuple[LabelClass, ...]:
    """The classes in a file that `write_classes` wrote; raises `UserError` where it is missing or damaged."""
    if not path.is_file():
        raise UserError(f"{path} does not exist, so that its folder's labels mean nothing: restore it.")
    classes = []
    for row in read_csv(path, _COLUMNS):
        try:
            id_, train_id, red, green, blue = (int(row[column]) for column in _COLUMNS[1:])
        except (TypeError, ValueError):
            raise UserError(f"{path}: the row of class '{row['name']}' is damaged: restore the file.") from None
        if not (-1 <= id_ <= 255 and all(0 <= value <= 255 for value in (train_id, red, green, blue))):
            raise UserError(f"{path}: class '{row['name']}' has ids or colours beyond 255: restore the file.")
        classes.append(LabelClass(row["name"], id_, train_id, (red, green, blue)))
    return tuple(classes)
