"""Class tables: ids, train ids, colours, things and stuff, and a dataset's annotation facts.

Inside Fewframes a label is a `uint8` array of train ids, `[H, W]`, with 255 for ignore. Dataset-native
ids exist only in readers and exporters; a `ClassTable` converts between the two.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.files import digest, read_yaml

IGNORE = 255
"""The train id of a pixel that neither trains nor counts (cityscapesScripts' convention)."""

_TABLES = Path(__file__).parent / "classtables"


@dataclass(frozen=True)
class LabelClass:
    """One row of a class table; `train_id` is 255 where the class is not evaluated."""

    name: str
    id: int
    train_id: int
    rgb: tuple[int, int, int]
    has_instances: bool = False


@dataclass(frozen=True)
class ClassTable:
    """A dataset's classes and the facts of its annotation.

    `minutes` are minutes of work per annotated frame by annotation source; `offsets` the first and last
    offset a clip can have, in frames relative to the annotated one; `refined` the names of the classes
    that refinement works on (the paper's section 4); `groups` are coarser divisions of the evaluated classes
    by name (Cityscapes' categories, IDD's levels), each a mapping from a group to its classes; `void` is the
    name of the class that stands for "no label" in label files, where there is one.
    """

    name: str
    classes: tuple[LabelClass, ...]
    minutes: Mapping[str, float]
    offsets: tuple[int, int]
    refined: tuple[str, ...]
    groups: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    void: str = ""

    @functools.cached_property
    def digest(self) -> str:
        """A digest of all the table says."""
        colours = [c.rgb for c in self.classes]
        return digest(self.label_digest, colours, self.minutes, self.offsets, self.refined, self.groups, self.void)

    @functools.cached_property
    def label_digest(self) -> str:
        """A digest of the classes alone: what labels and networks depend on, whatever their colours and price."""
        return digest([[c.name, c.id, c.train_id, c.has_instances] for c in self.classes])

    @functools.cached_property
    def trained(self) -> tuple[LabelClass, ...]:
        """The evaluated classes in the order of their train ids: one each, the first that names it."""
        by_train_id: dict[int, LabelClass] = {}
        for c in self.classes:
            if c.train_id != IGNORE:
                by_train_id.setdefault(c.train_id, c)
        return tuple(by_train_id[t] for t in sorted(by_train_id))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the evaluated classes; the position is the train id."""
        return tuple(c.name for c in self.trained)

    @functools.cached_property
    def refined_train_ids(self) -> tuple[int, ...]:
        """Train ids of the classes that refinement works on."""
        return tuple(self.names.index(name) for name in self.refined)

    @functools.cached_property
    def palette(self) -> NDArray[np.uint8]:
        """`uint8 [256, 3]` RGB by train id; ignore is black."""
        palette = np.zeros((256, 3), np.uint8)
        for c in self.trained:
            palette[c.train_id] = c.rgb
        return palette

    @functools.cached_property
    def _to_train(self) -> NDArray[np.int16]:
        lut = np.full(256, -1, np.int16)
        lut[IGNORE] = IGNORE
        for c in self.classes:
            if c.id >= 0:
                lut[c.id] = c.train_id
        return lut

    @functools.cached_property
    def _to_native(self) -> NDArray[np.uint8]:
        # 255 is ignored by every table.
        lut = np.full(256, next((c.id for c in self.classes if c.name == self.void), IGNORE), np.uint8)
        for c in self.trained:
            lut[c.train_id] = c.id
        return lut

    @functools.cached_property
    def _by_colour(self) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        """Packed colours, ascending, and the id of each; raises `UserError` where a colour does not tell."""
        ids: dict[int, LabelClass] = {}
        for c in self.classes:
            if c.id >= 0:
                first = ids.setdefault(c.rgb[0] << 16 | c.rgb[1] << 8 | c.rgb[2], c)
                if first.train_id != c.train_id:
                    raise UserError(
                        f"In the class table '{self.name}' the colour {list(c.rgb)} means both '{first.name}' and "
                        f"'{c.name}': use labels of ids, or give each class a colour of its own."
                    )
        colours = sorted(ids)
        return np.array(colours, np.uint32), np.array([ids[colour].id for colour in colours], np.uint8)

    def to_train_ids(self, native: NDArray[np.uint8], source: str | Path) -> NDArray[np.uint8]:
        """Native ids, `uint8 [H, W]`, to train ids of the same shape.

        `source` is the file to name in the error: raises `UserError` where an id is not in the table.
        """
        train = self._to_train[native]
        if train.min(initial=0) < 0:
            unknown = sorted(int(i) for i in np.unique(native[train < 0]))
            raise UserError(
                f"{source} holds label ids {unknown} that the class table '{self.name}' does not know: "
                "check that the file holds native label ids, or choose the class table it was made with."
            )
        return train.astype(np.uint8)

    def to_native_ids(self, train: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Train ids to native ids, `uint8 [H, W]`; of classes that share a train id, the first in the table.

        What is ignored becomes the class `void`, or 255 where the table names none.
        """
        return self._to_native[train]

    def from_colours(self, rgb: NDArray[np.uint8], source: str | Path) -> NDArray[np.uint8]:
        """A colour picture of labels, `uint8 [H, W, 3]`, to native ids `uint8 [H, W]`.

        `source` is the file to name in the error: raises `UserError` for a colour that no class has.
        """
        ids, strange = self.match_colours(rgb)
        if strange.any():
            found, counts = np.unique(rgb[strange], axis=0, return_counts=True)
            raise UserError(
                f"{source} holds {len(found)} colours that no class of '{self.name}' has, most of all "
                f"{found[counts.argmax()].tolist()} ({int(counts.max())} pixels): correct the class table's rgb, and "
                "save label pictures without smoothing or JPEG."
            )
        return ids

    def match_colours(self, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Native ids of a colour picture `uint8 [H, W, 3]`, and where they mean nothing: no class has the colour."""
        colours, ids = self._by_colour
        packed = rgb[..., 0].astype(np.uint32) << 16 | rgb[..., 1].astype(np.uint32) << 8 | rgb[..., 2]
        place = np.minimum(np.searchsorted(colours, packed), len(colours) - 1)
        return ids[place], colours[place] != packed

    def colour(self, train: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Train ids `[H, W]` to an RGB picture `uint8 [H, W, 3]`."""
        return self.palette[train]


def load_class_table(name: str | Path) -> ClassTable:
    """Read a class table by its built-in name (`cityscapes`, `idd`, `camvid` ...) or from a YAML file."""
    built_in = _TABLES / f"{name}.yaml"
    path = built_in if built_in.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in _TABLES.glob("*.yaml")))
        raise UserError(f"There is no class table '{name}': name one of {known}, or a YAML file.")
    return _parse(path)


def _parse(path: Path) -> ClassTable:
    table = read_yaml(path)

    def refuse(fault: str) -> UserError:
        return UserError(f"{path}: {fault}.")

    if not isinstance(table, dict) or not isinstance(table.get("classes"), list) or not table["classes"]:
        raise refuse(
            f"a class table has a list 'classes' and facts beside it: compare it with {_TABLES}/cityscapes.yaml"
        )
    _check_keys(table, ("classes", "minutes", "offsets", "refined", "groups", "void"), refuse)
    classes = tuple(_class(row, number, refuse) for number, row in enumerate(table["classes"], 1))
    minutes, offsets = table.get("minutes", {}), table.get("offsets", [])
    if not isinstance(minutes, dict) or not all(_is_number(m) and 0 <= m < math.inf for m in minutes.values()):
        raise refuse("'minutes' must map kinds of annotation to minutes a frame, such as {fine: 90, coarse: 7}")
    whole = isinstance(offsets, list) and len(offsets) == 2 and all(type(o) is int for o in offsets)
    if not whole or not offsets[0] <= 0 <= offsets[1]:
        raise refuse(
            f"'offsets' is {offsets}: give a clip's first and last frame, counted from the key frame: [-19, 10]"
        )
    refined, groups = table.get("refined") or [], table.get("groups") or {}
    if not isinstance(refined, list):
        raise refuse("'refined' must be a list of class names")
    if not isinstance(groups, dict) or not all(_is_level(level) for level in groups.values()):
        raise refuse("'groups' must map a level's name to its groups, and each of those to a list of class names")
    parsed = ClassTable(
        name=path.stem,
        classes=classes,
        minutes={str(k): float(v) for k, v in minutes.items()},
        offsets=(offsets[0], offsets[1]),
        refined=tuple(map(str, refined)),
        groups={str(k): {str(g): tuple(map(str, names)) for g, names in v.items()} for k, v in groups.items()},
        void=str(table.get("void", "")),
    )
    _check(parsed, refuse)
    return parsed


Refusal = Callable[[str], UserError]


def _class(row: Any, number: int, refuse: Refusal) -> LabelClass:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not row["name"].strip():
        raise refuse(f"class {number} has no name")
    name = row["name"]
    _check_keys(row, ("name", "id", "train_id", "rgb", "instances"), lambda fault: refuse(f"class '{name}': {fault}"))
    train_id, rgb = row.get("train_id", IGNORE), row.get("rgb", [])
    for key, value in (("id", row.get("id")), ("train_id", train_id)):
        if type(value) is not int or not (-1 if key == "id" else 0) <= value <= IGNORE:
            raise refuse(f"class '{name}': '{key}' is {value!r}, not a whole number from 0 to 255")
    if not isinstance(rgb, list) or len(rgb) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in rgb):
        raise refuse(f"class '{name}': 'rgb' is {rgb!r}, not three whole numbers from 0 to 255")
    if train_id != IGNORE and not 0 <= row["id"] < IGNORE:
        raise refuse(f"class '{name}' is evaluated, so its id must be 0 to 254: 255 is ignored in every label file")
    if type(row.get("instances", False)) is not bool:
        raise refuse(f"class '{name}': 'instances' must be true or false")
    return LabelClass(name, row["id"], train_id, (rgb[0], rgb[1], rgb[2]), row.get("instances", False))


def _check(table: ClassTable, refuse: Refusal) -> None:
    """Raise where what the table says does not fit together."""
    for what, values in (("names", [c.name for c in table.classes]), ("ids", [c.id for c in table.classes])):
        if twice := [value for value, count in Counter(values).items() if count > 1 and value != -1]:
            raise refuse(f"two classes have the same {what[:-1]} {twice[0]!r}: they must differ")
    if not table.trained or [c.train_id for c in table.trained] != list(range(len(table.trained))):
        raise refuse("the train ids must be 0, 1, 2 ... without gaps, and left out for classes that are ignored")
    if table.void and not any(c.name == table.void and c.train_id == IGNORE and c.id >= 0 for c in table.classes):
        raise refuse(f"'void' is '{table.void}', which is no ignored class of the table")
    if unknown := set(table.refined) - set(table.names):
        raise refuse(f"'refined' names {sorted(unknown)}, which no evaluated class is called")
    for level, groups in table.groups.items():
        listed = [name for names in groups.values() for name in names]
        if sorted(listed) != sorted(table.names):
            odd = sorted(set(listed) ^ set(table.names)) or [n for n, count in Counter(listed).items() if count > 1]
            raise refuse(f"'groups.{level}' must have every evaluated class once: see to {odd}")


def _check_keys(mapping: Mapping[Any, Any], known: tuple[str, ...], refuse: Refusal) -> None:
    for key in mapping:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            raise refuse(f"'{key}' is no key here: " + (f"did you mean '{close[0]}'?" if close else ", ".join(known)))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_level(level: Any) -> bool:
    return isinstance(level, dict) and all(isinstance(names, list) for names in level.values())
