"""Class tables: ids, train ids, colours, things and stuff, and a dataset's annotation facts.

Inside Fewframes a label is a `uint8` array of train ids, `[H, W]`, with 255 for ignore. Dataset-native
ids exist only in readers and exporters; a `ClassTable` converts between the two.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.files import digest

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
    by name (Cityscapes' categories, IDD's levels), each a mapping from a group to its classes.
    """

    name: str
    classes: tuple[LabelClass, ...]
    minutes: Mapping[str, float]
    offsets: tuple[int, int]
    refined: tuple[str, ...]
    groups: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        """A digest of all the table says: what was made with it is due again when it changes."""
        rows = [[c.name, c.id, c.train_id, list(c.rgb), c.has_instances] for c in self.classes]
        return digest(rows, self.minutes, self.offsets, self.refined, self.groups)

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
        # What is ignored goes to the first such class; 255, which every table reads as ignored, where there is none.
        ignored = [c.id for c in self.classes if c.train_id == IGNORE and c.id >= 0]
        lut = np.full(256, ignored[0] if ignored else IGNORE, np.uint8)
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
        """Train ids to native ids, `uint8 [H, W]`; of classes that share a train id, the first in the table."""
        return self._to_native[train]

    def from_colours(self, rgb: NDArray[np.uint8], source: str | Path) -> NDArray[np.uint8]:
        """A colour picture of labels, `uint8 [H, W, 3]`, to native ids `uint8 [H, W]`.

        `source` is the file to name in the error: raises `UserError` for a colour that no class has.
        """
        colours, ids = self._by_colour
        packed = rgb[..., 0].astype(np.uint32) << 16 | rgb[..., 1].astype(np.uint32) << 8 | rgb[..., 2]
        place = np.minimum(np.searchsorted(colours, packed), len(colours) - 1)
        strange = colours[place] != packed
        if strange.any():
            found, counts = np.unique(packed[strange], return_counts=True)
            first = int(found[counts.argmax()])
            raise UserError(
                f"{source} holds {len(found)} colours that no class of '{self.name}' has, most of all "
                f"{[first >> 16, first >> 8 & 255, first & 255]} ({int(counts.max())} pixels): correct the class "
                "table's rgb, and save label pictures without smoothing or JPEG."
            )
        return ids[place]

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
    try:
        table: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        classes = tuple(
            LabelClass(
                name=str(row["name"]),
                id=int(row["id"]),
                train_id=int(row.get("train_id", IGNORE)),
                rgb=(int(row["rgb"][0]), int(row["rgb"][1]), int(row["rgb"][2])),
                has_instances=bool(row.get("instances", False)),
            )
            for row in table["classes"]
        )
        first, last = table["offsets"]
        parsed = ClassTable(
            name=path.stem,
            classes=classes,
            minutes=MappingProxyType({str(k): float(v) for k, v in table["minutes"].items()}),
            offsets=(int(first), int(last)),
            refined=tuple(table.get("refined", ())),
            groups={
                str(level): {str(group): tuple(map(str, names)) for group, names in groups.items()}
                for level, groups in table.get("groups", {}).items()
            },
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} is not a class table ({error!r}): compare it with {_TABLES / 'cityscapes.yaml'}."
        ) from error
    expected = list(range(len(parsed.trained)))
    if not expected or [c.train_id for c in parsed.trained] != expected:
        raise UserError(f"{path}: the train ids must be 0, 1, 2 … without gaps, and 255 for ignore.")
    numbers = [c.id for c in parsed.classes if c.id >= 0]
    if len(set(numbers)) != len(numbers) or max(numbers) > IGNORE:
        raise UserError(f"{path}: the ids must be different and at most 255.")
    if any(c.id == IGNORE != c.train_id for c in parsed.classes):
        raise UserError(f"{path}: the id 255 is ignored in every label file: give the class another.")
    named = {"refined": [parsed.refined], **{f"groups.{k}": list(v.values()) for k, v in parsed.groups.items()}}
    for key, lists in named.items():
        if unknown := {name for names in lists for name in names} - set(parsed.names):
            raise UserError(f"{path}: '{key}' names {sorted(unknown)}, which no evaluated class is called.")
    return parsed
