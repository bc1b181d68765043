"""Files of weights: the published ones by name, where a file stands, and that it is the very one that was meant.

Fetching is in `fetching`, loading with the callers: `torch.load(..., weights_only=True)` or safetensors, nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fewframes.core.errors import UserError
from fewframes.core.files import write_text
from fewframes.core.trust import refuse_open

FOLDER = "weights"
"""Where fetched weights lie, where nothing else is said."""
_REGISTRY = Path(__file__).parent / "weights.yaml"
_SHIPPED = Path(__file__).parent / "shipped"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Published:
    """Weights that somebody publishes, or that come with Fewframes (`url` is then empty).

    What each field means stands at the head of `weights.yaml`.
    """

    name: str
    url: str
    size: int
    sha256: str | None
    licence: str
    package: str
    config: str
    digits: str = ""

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1] if self.url else f"{self.name}.safetensors"

    @property
    def shipped(self) -> bool:
        """Whether the file comes with Fewframes, so that there is nothing to fetch."""
        return not self.url

    def at(self, folder: str | Path) -> Path:
        """Where the file lies, if it has been fetched into `folder` or is shipped."""
        return (_SHIPPED if self.shipped else Path(folder)) / self.file

    def check(self, sha256: str) -> bool:
        """Whether a file of this checksum can be the one that is published."""
        return sha256 == self.sha256 if self.sha256 else sha256.startswith(self.digits)


@dataclass(frozen=True)
class Weights:
    """A file of weights at hand: its whole SHA-256 (hexadecimal), and whether that was known beforehand.

    `published` is what is known of the file, where the registry knows it: by the name it was asked for, or by its
    checksum, wherever it lies and whatever it is called.
    """

    path: Path
    sha256: str
    verified: bool
    published: Published | None


@functools.cache
def registry() -> dict[str, Published]:
    """Published weights by name."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load(_REGISTRY.read_text(encoding="utf-8"))
    return {name: Published(name, **{"url": "", **entry}) for name, entry in entries.items()}


def published(name: str) -> Published:
    """The entry of that name; raises `UserError` with the names there are."""
    if name not in registry():
        raise UserError(f"No weights are known by the name '{name}': choose one of {', '.join(registry())}.")
    return registry()[name]


def resolve(name_or_path: str | Path, folder: str | Path = FOLDER, sha256: str = "") -> Weights:
    """The file to load for a published name (fetched into `folder` before), or any local file.

    A name of the registry goes before a file of the same name: write `./name` for the file. `sha256`, where it is
    given, is what the file must have. Raises `UserError` where the file is absent or another than it must be.
    """
    entry = registry().get(str(name_or_path))
    if entry is not None:
        return examine(entry, folder, sha256)
    path = Path(name_or_path)
    if not path.is_file():
        what = "is no file" if path.exists() else "do not exist"
        raise UserError(
            f"The weights {path} {what}: correct the path, or name published ones ({', '.join(registry())})."
        )
    check_weights(path, sha256)
    found = sha256.lower() or _hash(path)
    known = next((e for e in registry().values() if e.sha256 == found), None)
    return Weights(path, found, verified=bool(sha256) or known is not None, published=known)


def examine(entry: Published, folder: str | Path, sha256: str = "") -> Weights:
    """Published weights as they lie in `folder`; raises `UserError` where they are absent or not what they must be.

    The file is read once; what was found is kept beside it (`<file>.json`) and holds while size and time do. So a
    folder that anybody may write to is refused.
    """
    path = entry.at(folder)
    wanted = expected(entry, sha256)
    if not entry.shipped:
        refuse_open(folder, "fetched weights")
    try:
        status = path.stat()
    except OSError:
        if entry.shipped:
            raise UserError(f"{path} is missing, and comes with Fewframes: install it again.") from None
        raise UserError(
            f"The weights {entry.name} are not at {path}: run `fewframes fetch {entry.name} --folder {folder}` on a "
            "machine with network, or copy the file there."
        ) from None
    note = _read_note(path)
    kept = (note.get("size"), note.get("time")) == (status.st_size, status.st_mtime_ns)
    found = note["sha256"] if kept and isinstance(note.get("sha256"), str) else _hash(path)
    # What a person vouched for when it was fetched holds as long as the content does.
    vouched = note.get("sha256") == found and note.get("verified") is True
    if entry.shipped and found != wanted:
        raise UserError(f"{path} is not the file that comes with Fewframes: install it again.")
    if (wanted and found != wanted) or status.st_size != entry.size or not entry.check(found):
        raise UserError(
            f"{path} is not the file that was published as {entry.name} ({status.st_size} bytes, SHA-256 "
            f"{found[:12]}..., where {entry.size} and {(wanted or entry.digits)[:12]}... were expected): remove it and "
            f"run `fewframes fetch {entry.name} --folder {folder}`."
        )
    weights = Weights(path, found, verified=bool(wanted) or vouched, published=entry)
    if not entry.shipped and (not kept or weights.verified != vouched):
        keep_note(weights)
    return weights


def expected(entry: Published, sha256: str) -> str:
    """What the file's SHA-256 must be: the registry's, or else `sha256`, or "" where nobody knows it."""
    if sha256 and not _SHA256.fullmatch(sha256):
        raise UserError(f"'{sha256}' is no SHA-256: give its 64 hexadecimal digits.")
    if sha256 and not entry.check(sha256.lower()):
        known = entry.sha256 or f"one that begins with {entry.digits}"
        raise UserError(
            f"{entry.name} is published with the SHA-256 {known}, not {sha256.lower()}: leave the checksum out, or "
            "give the path of a local file in place of the name."
        )
    return entry.sha256 or sha256.lower()


def keep_note(weights: Weights) -> None:
    """Keep beside the file what it was found to be; where nothing can be written, it is read again next time."""
    status = weights.path.stat()
    note = {
        "sha256": weights.sha256,
        "verified": weights.verified,
        "size": status.st_size,
        "time": status.st_mtime_ns,
        "url": weights.published.url if weights.published else "",
    }
    try:
        write_text(_note(weights.path), json.dumps(note, indent=1) + "\n")
    except UserError:
        return


def check_weights(path: str | Path, sha256: str) -> None:
    """Raise `UserError` where the file is absent, or is not of this SHA-256 (hexadecimal; empty: any will do)."""
    found = _hash(Path(path), whole=bool(sha256))
    if found != sha256.lower():
        raise UserError(
            f"The weights {path} have the SHA-256 {found[:12]}..., not {sha256[:12].lower()}...: download them again, "
            "or correct the checksum in the config."
        )


def _hash(path: Path, whole: bool = True) -> str:
    """SHA-256 of a file's bytes, hexadecimal; "" for one that need only be readable."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if whole else ""
    except OSError as error:
        raise UserError(f"The weights {path} cannot be read ({error.strerror}): correct their path.") from None


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
