"""The label file: one HDF5 file with the labels made for one clip (or one coarse image).

Layout: `/labels/<offset>` is a `uint8 [H, W]` map of train ids, 255 = ignore, with the attribute
`fingerprint` (of all that the label was made from) and `checksum` (of its pixels). Method maps such as
`/confidence/<offset>` may lie beside it, and what the method says of each object it followed, such as
`/objects/<offset>/presence`, one number an object. The root's attribute `provenance` is JSON: the annotated frame,
the method, its settings and version. A label's attribute `notes` is JSON too: what else is worth knowing of how it
was made, on which nothing depends; `checksum_beside` is of its maps and objects.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.files import canonical_json, digest, is_there, written_whole
from fewframes.core.images import MAX_PIXELS

_OBJECTS = "objects"
_FORMAT = ("v110", "v110")
"""HDF5 1.10's format of files: it has checksums on all that HDF5 itself must know. In the older one, which h5py writes
where it is not told, a damaged byte can send HDF5 round in a circle for ever."""
_FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)
"""What h5py and JSON raise on a damaged file, or one that is another's."""
_MEND = "run `fewframes verify --mend`, then `snakemake` again"


@dataclass(frozen=True)
class Layer:
    """The label made for one frame: `label` is `uint8 [H, W]` train ids; `maps` are further `[H, W]` arrays.

    `objects` are columns of a table of the objects that the method followed, arrays `[N]` by name. `notes` say what
    else is worth keeping, such as the device; nothing depends on them.
    """

    label: NDArray[np.uint8]
    fingerprint: str
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    objects: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checksum(self) -> str:
        """blake2b of the label's pixels, 16 hex digits."""
        return _hash(self.label)

    @property
    def checksum_beside(self) -> str:
        """A digest of all that lies beside the label: 16 hex digits."""
        beside = [*sorted(self.maps.items()), *sorted(self.objects.items())]
        return digest(
            [(name, str(values.dtype), zlib.crc32(np.ascontiguousarray(values).data)) for name, values in beside]
        )


def _hash(values: NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=8).hexdigest()


@dataclass(frozen=True)
class Packed:
    """A map as the file holds it, in one chunk: shuffled (all first bytes, then all second ones) and deflated."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: bytes


@dataclass(frozen=True)
class PackedLayer:
    """A layer ready to be written; one of 2048x1024 with its maps takes half a megabyte instead of eight."""

    label: Packed
    maps: Mapping[str, Packed]
    objects: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, str]


def pack(layer: Layer) -> PackedLayer:
    """Hash and deflate a layer: nearly all the work of writing it, and other threads run meanwhile."""
    attributes = {
        "fingerprint": layer.fingerprint,
        "checksum": layer.checksum,
        "checksum_beside": layer.checksum_beside,
        "notes": canonical_json(layer.notes),
    }
    maps = {name: _packed(values) for name, values in layer.maps.items()}
    return PackedLayer(_packed(layer.label), maps, layer.objects, attributes)


def _packed(values: NDArray[Any]) -> Packed:
    planes = np.ascontiguousarray(values).reshape(-1, 1).view(np.uint8).T
    # Label maps shrink about fifty times; level 1 is within 10 % of level 4 on them and thrice as fast.
    return Packed(values.shape, values.dtype, zlib.compress(np.ascontiguousarray(planes).data, level=1))


def write_label_file(
    path: str | Path, layers: Mapping[int, Layer | PackedLayer], provenance: Mapping[str, Any]
) -> None:
    """Write the label file whole: aside first, then renamed."""
    with written_whole(path) as aside, h5py.File(aside, "w", libver=_FORMAT, locking=False) as file:
        _note(file.attrs, {"provenance": canonical_json(provenance)})
        for offset, layer in sorted(layers.items()):
            packed = layer if isinstance(layer, PackedLayer) else pack(layer)
            dataset = _store(file, f"labels/{offset}", packed.label)
            _note(dataset.attrs, packed.attributes)
            for name, values in packed.maps.items():
                _store(file, f"{name}/{offset}", values)
            for name, column in packed.objects.items():
                file.create_dataset(f"{_OBJECTS}/{offset}/{name}", data=column)


def read_label_layer(path: str | Path, offset: int) -> NDArray[np.uint8]:
    """The label at an offset, `uint8 [H, W]` train ids; its pixels are checked against their checksum."""
    return read_layer(path, offset, maps=()).label


def read_layer(path: str | Path, offset: int, maps: Collection[str] | None = None) -> Layer:
    """One layer with its objects and its maps, or only those `maps` of it that are named.

    Raises `UserError` where it is absent or damaged; what lies beside the label is checked where all of it is read.
    """
    try:
        with _opened(path) as file:
            return _layer(file, path, offset, maps)
    except _FAULTS as error:
        raise _damaged(path) from error


def read_fingerprints(path: str | Path) -> dict[int, tuple[str, str]]:
    """Fingerprint and checksum of every layer by offset; empty where there is no such (intact) file."""
    if not Path(path).is_file():
        return {}
    try:
        with _opened(path) as file:
            labels = _own(file, "labels")
            layers = {int(offset): _own(labels, offset).attrs for offset in labels}
            return {offset: (_noted(d, "fingerprint"), _noted(d, "checksum")) for offset, d in layers.items()}
    except _FAULTS:
        return {}


def made_layers(path: str | Path, offsets: Collection[int]) -> dict[int, tuple[str, str]]:
    """The same where layers at these offsets must be; raises `UserError` where one is not, or the file is damaged.

    One that was there a moment ago can have gone: two runs with other settings may write to one file, each the whole.
    """
    found = read_fingerprints(path) if is_there(path) else {}
    if not found:
        raise _damaged(path)
    if missing := set(offsets) - found.keys():
        raise _absent(path, min(missing))
    return found


def read_provenance(path: str | Path) -> dict[str, Any]:
    """What the file's labels were made from, and by which method."""
    try:
        with _opened(path) as file:
            return json.loads(_noted(file.attrs, "provenance"))
    except _FAULTS as error:
        raise _damaged(path) from error


def _store(file: h5py.File, name: str, values: Packed) -> h5py.Dataset:
    kept = {"chunks": values.shape, "compression": "gzip", "compression_opts": 1, "shuffle": True}
    dataset = file.create_dataset(name, values.shape, values.dtype, **kept)
    dataset.id.write_direct_chunk((0,) * len(values.shape), values.chunk)
    return dataset


def _note(attributes: h5py.AttributeManager, texts: Mapping[str, str]) -> None:
    # As bytes of a fixed number: strings of any length lie in a heap that has no checksum.
    attributes.update({name: np.bytes_(text.encode()) for name, text in texts.items()})


def _noted(attributes: h5py.AttributeManager, name: str) -> str:
    value = attributes[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def _opened(path: str | Path) -> h5py.File:
    is_there(path)
    # No lock: label files never change once renamed, and many clusters' filesystems refuse HDF5's locks.
    return h5py.File(path, "r", locking=False)


def _layer(file: h5py.File, path: str | Path, offset: int, only: Collection[str] | None) -> Layer:
    labels = _own(file, "labels") if "labels" in file else {}
    if str(offset) not in labels:
        raise _absent(path, offset)
    dataset = _own(labels, str(offset))
    wanted = {name for name in file if only is None or name in (_OBJECTS, *only)} - {"labels"}
    groups = {name: _own(file, name) for name in sorted(wanted)}
    others = {name: _own(group, str(offset)) for name, group in groups.items() if str(offset) in group}
    table = others.pop(_OBJECTS, {})
    maps = {name: values[()] for name, values in others.items()}
    objects = {name: _own(table, name)[()] for name in table}
    notes = json.loads(_noted(dataset.attrs, "notes"))
    layer = Layer(dataset[()], _noted(dataset.attrs, "fingerprint"), maps, objects, notes)
    if layer.checksum != _noted(dataset.attrs, "checksum"):
        raise _damaged(path)
    if only is None and layer.checksum_beside != _noted(dataset.attrs, "checksum_beside"):
        raise _damaged(path)
    return layer


def _own(group: h5py.Group, name: str) -> Any:
    """What lies at `name` in this very file: HDF5 can lead to others, hold Python's objects, and claim any size.

    Raises `KeyError` for such.
    """
    if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
        raise KeyError(name)
    found = group[name]
    if isinstance(found, h5py.Dataset):
        elsewhere = found.is_virtual or found.external
        if elsewhere or found.dtype.kind not in "biuf" or found.size > MAX_PIXELS:
            raise KeyError(name)
    return found


def _absent(path: str | Path, offset: int) -> UserError:
    return UserError(f"{path} holds no label at offset {offset}: {_MEND}.")


def _damaged(path: str | Path) -> UserError:
    return UserError(f"{path} is missing or damaged: {_MEND}.")
