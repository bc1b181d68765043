"""The files of every clip: each there and whole by its structure, of one size; and every label decoded.

One job a clip, done in worker processes: a tree of Cityscapes' size has 150,000 files.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fewframes.core.clips import PREPARED, Root
from fewframes.core.errors import UserError
from fewframes.core.images import MAX_PIXELS
from fewframes.datasets.frames import VIDEOS, frame_count
from fewframes.doctor.case import Case
from fewframes.doctor.decoding import decode_frame, label_ids
from fewframes.doctor.headers import FlawError, Header, absent, inspect, whole
from fewframes.doctor.report import FAULT, WARNING, Group, plural

_PICTURES = (".png", ".jpg", ".jpeg")
_RESTORE = "Unpack or download them again; a file that exists nowhere whole must go, with its clip."
_MEASURE = "Make every image, label and frame of a clip the same size: labels by nearest neighbour."

KINDS = {
    "absent": (FAULT, "missing", _RESTORE),
    "dead": (FAULT, "links that lead nowhere", "Correct the links, or mount what they lead to."),
    "empty": (FAULT, "empty, of zero bytes", _RESTORE),
    "short": (FAULT, "cut short", _RESTORE),
    "damaged": (FAULT, "damaged", _RESTORE),
    "foreign": (FAULT, "no images", "Download them again: an error page or another file was saved in their place."),
    "unreadable": (FAULT, "not readable", "Mend their permissions, or replace them with intact copies."),
    "deep": (FAULT, "images of more than 8 bits a channel", "Convert them to 8 bits."),
    "mode": (FAULT, "images neither grey nor RGB", "Convert them to 8-bit RGB."),
    "animated": (FAULT, "animated", "Replace each with a single picture."),
    "huge": (FAULT, f"of more than {MAX_PIXELS:,} pixels", "Replace them with true frames: such sizes are refused."),
    "label": (FAULT, "labels that are no map of ids", "Point to the PNGs of label ids, not to their colour pictures."),
    "instances": (FAULT, "instances that are no map of ids", "Restore the 16-bit PNGs of instance ids."),
    "size": (FAULT, "of another size than their key frame", _MEASURE),
    "gap": (WARNING, "frames missing between others", "Restore them: a clip is used only as far as it has no gap."),
}
"""The flaws a file can have: severity, what it is called, and the mend."""


@dataclass(frozen=True)
class Job:
    """The files of one clip, by what they must be; paths as `Root` takes them.

    `decoded` are labels to look into; `deep` has also the image and the frames decoded.
    """

    image: str = ""
    frames: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    decoded: frozenset[str] = frozenset()
    deep: bool = False


@dataclass
class Outcome:
    """Flaws as (kind, path, detail), and the ids that each decoded label holds."""

    files: int = 0
    flaws: list[tuple[str, str, str]] = field(default_factory=list)
    ids: dict[str, tuple[int, ...]] = field(default_factory=dict)
    pictures: int = 0


def examine_files(case: Case) -> tuple[Group, dict[str, tuple[int, ...]]]:
    """Look at all files of the clips; returns also the ids that each decoded label holds, by its path."""
    group = Group("Files")
    ids: dict[str, tuple[int, ...]] = {}
    files = pictures = 0
    flaws: dict[tuple[str, str], str] = {}
    for outcome in case.shared(functools.partial(examine_job, root=case.source.root), list(_jobs(case)), "files"):
        files += outcome.files
        pictures += outcome.pictures
        ids.update(outcome.ids)
        flaws.update({(kind, path): detail for kind, path, detail in outcome.flaws})
    flaws.update({("gap", path): f"offset {offset:+d} of {clip}" for path, (clip, offset) in case.gaps.items()})
    for (kind, path), detail in sorted(flaws.items()):
        severity, what, mend = KINDS[kind]
        group.add(severity, what, shown(path), mend, detail)
        case.flawed.add(path)
    for link, target in sorted(case.dead_links.items()):
        if link not in case.flawed:
            group.add(
                WARNING, "links that lead nowhere, in no use", link, "Delete or correct them.", f"leads to {target}"
            )
    for link in case.loops:
        mend = "Delete the link: whatever follows links would never end."
        group.add(WARNING, "links to a folder above themselves", link, mend)
    frames = f" and {plural(pictures, 'frame')}" if case.deep else ""
    group.summary = f"{files:,} looked at, {plural(len(ids), 'label')}{frames} decoded"
    return group, ids


def examine_job(job: Job, root: Root) -> Outcome:
    """Look at the files of one clip."""
    outcome = Outcome()
    check = functools.partial(_checked, outcome, root)
    picture = _as_whole_image if job.deep else _as_image
    key = check(job.image, picture) if job.image else None
    for path in job.frames:
        _compare(outcome, path, check(path, picture), key)
    outcome.pictures = outcome.files if job.deep else 0
    for path in job.instances:
        _compare(outcome, path, check(path, _as_instances), key)
    for path in job.labels:
        header = check(path, _as_label)
        _compare(outcome, path, header, key)
        if header and path in job.decoded:
            try:
                outcome.ids[path] = label_ids(root / path, header)
            except FlawError as flaw:
                outcome.flaws.append((flaw.kind, path, flaw.detail))
    for path in job.loose:
        outcome.files += 1
        try:
            _look(root / path)
        except FlawError as flaw:
            outcome.flaws.append((flaw.kind, path, flaw.detail))
    return outcome


def shown(path: str) -> str:
    """A path as the report names it."""
    return path.removeprefix(PREPARED)


def _checked(outcome: Outcome, root: Root, path: str, suits: Callable[[Path, Header], None]) -> Header | None:
    outcome.files += 1
    try:
        header = inspect(root / path)
        suits(root / path, header)
    except FlawError as flaw:
        outcome.flaws.append((flaw.kind, path, flaw.detail))
        return None
    return header


def _compare(outcome: Outcome, path: str, header: Header | None, key: Header | None) -> None:
    if header and key and (header.height, header.width) != (key.height, key.width):
        outcome.flaws.append(("size", path, f"{header.sides}, not {key.sides}"))


def _as_image(path: Path, header: Header) -> None:
    if header.bits > 8:
        raise FlawError("deep", f"{header.bits} bits")
    if header.bits == 1 or header.channels == 2 or (header.channels == 4 and not header.png):
        raise FlawError("mode", f"{plural(header.channels, 'channel')} of {plural(header.bits, 'bit')}")


def _as_whole_image(path: Path, header: Header) -> None:
    _as_image(path, header)
    decode_frame(path)


def _as_label(path: Path, header: Header) -> None:
    if header.channels != 1 or header.bits > 8 or (header.bits == 1 and not header.palette):
        raise FlawError("label", f"{plural(header.channels, 'channel')} of {plural(header.bits, 'bit')}")


def _as_instances(path: Path, header: Header) -> None:
    if header.channels != 1 or header.palette:
        raise FlawError("instances", f"{plural(header.channels, 'channel')} of {plural(header.bits, 'bit')}")
    whole(path)  # small files: each byte is held against its checksum


def _look(path: Path) -> None:
    """Look at a file that is only an input of preparation."""
    if path.suffix.lower() in _PICTURES:
        inspect(path)
        return
    try:
        if not path.stat().st_size:
            raise FlawError("empty")
        if path.suffix.lower() in VIDEOS:
            frame_count(path)
        if path.suffix.lower() == ".json":
            json.loads(path.read_bytes())
    except UserError as error:
        raise FlawError("damaged", str(error).removeprefix(f"{path} ").partition(": ")[0]) from None
    except OSError as error:
        raise absent(path, error) from None
    except ValueError as error:
        raise FlawError("damaged", f"no JSON: {error}") from None


def _jobs(case: Case) -> Iterator[Job]:
    # What is still to be prepared is not missing.
    seen = {PREPARED + output for task in case.undone for output in task.outputs}
    undone = frozenset(seen)

    def new(paths: Iterable[str]) -> tuple[str, ...]:
        fresh = [path for path in dict.fromkeys(paths) if path and path not in seen]
        seen.update(fresh)
        return tuple(fresh)

    used = {clip.id for clip in case.used} if case.deep else set()
    # Of clips that share frames, those whose frames are decoded come first.
    for clip in sorted(case.clips, key=lambda clip: clip.id not in used):
        decoded = {clip.fine} | ({clip.coarse} if case.trains_on_coarse(clip) else set())
        yield Job(
            image="" if clip.image in undone else clip.image,
            frames=new(clip.image_at(o) for o in range(clip.first, clip.last + 1, clip.step) if o),
            labels=new([clip.fine, clip.coarse, *case.truths(clip)]),
            instances=new([clip.fine_instances, clip.coarse_instances]),
            decoded=frozenset(decoded - {""} - undone),
            deep=clip.id in used,
        )
    for task in case.undone:
        if inputs := new(task.inputs):
            yield Job(loose=inputs)
    if case.undone:
        # Whose frames they are shows only when all is prepared: every picture is looked at by itself.
        for folder, names in case.tree.items():
            yield Job(loose=new(f"{folder}/{name}" for name in names if Path(name).suffix.lower() in _PICTURES))
