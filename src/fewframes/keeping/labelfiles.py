"""Label files: every pixel against its checksum, every label against what is declared, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from fewframes.core.clips import LABEL_COLUMNS, Clip, asks_for, read_shard
from fewframes.core.errors import UserError
from fewframes.core.files import digest, read_csv
from fewframes.core.labelfile import read_fingerprints, read_layer, read_provenance
from fewframes.doctor.report import FAULT, Group, plural
from fewframes.experiments.methods import STAGES
from fewframes.keeping.contents import refuse_unreadable
from fewframes.keeping.inspection import Inspection
from fewframes.labelling.propagation.layers import before_policy


@dataclass(frozen=True)
class Seen:
    """A label file as it was found: its provenance, fingerprint and checksum by offset; or its `fault`."""

    provenance: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    fault: str = ""


def look(file: Path) -> Seen:
    """Read a label file to the last pixel; all that lies beside its labels is held against its checksum too.

    Raises `OSError` where it is there and cannot be read.
    """
    if not file.is_file():
        return Seen(fault="missing")
    file.read_bytes()  # HDF5 does not tell what the disk refuses from what is damaged
    try:
        provenance, layers = read_provenance(file), read_fingerprints(file)
        for offset in layers:
            read_layer(file, offset)
    except Exception as error:  # a damaged HDF5 file fails in too many ways to list
        return Seen(fault=f"damaged ({type(error).__name__})" if not isinstance(error, UserError) else "damaged")
    return Seen(provenance, layers) if layers else Seen(fault="damaged")


def leads_out(name: str) -> bool:
    """Whether a label file's name, relative to the results, leads out of them: then no stage wrote it."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


@dataclass(frozen=True)
class Declared:
    """A CSV of labels: of one shard of a method, with what the plan dealt it, or of one draw of a filled experiment."""

    file: Path
    stage: str
    shard: Path | None

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """A row a label; raises `UserError` where it cannot be read."""
        rows = read_csv(self.file, LABEL_COLUMNS)
        if any(not row["offset"].lstrip("-").isdigit() for row in rows):
            raise UserError(f"{self.file} has an offset that is no number: make it again with `snakemake`.")
        if any(leads_out(row["file"]) for row in rows):
            raise UserError(f"{self.file} names a file outside the results: make it again with `snakemake`.")
        return rows

    @cached_property
    def wanted(self) -> dict[str, tuple[Clip, set[int]]] | None:
        """The clips of the shard, as the method is asked for them, with the offsets to label; None without a plan."""
        if self.shard is None or not self.shard.is_file():
            return None
        dealt = read_shard(self.shard)
        return {
            clip.id: (clip, {0, *map(int, extra.get("offsets", "").split())})
            for clip, extra in dealt
            if asks_for(extra, self.file.parent.name)
        }


def declared_labels(it: Inspection) -> list[Declared]:
    """The CSVs of labels that the config's methods, and the networks that fill, have made so far."""
    every = [
        Declared(
            it.results / kind / method / f"{shard}.csv",
            kind,
            it.results / "shards" / STAGES[kind].rule / f"{shard}.csv",
        )
        for kind, methods in it.study.labelled.items()
        for method in methods
        for shard in it.study.shards
    ]
    every += [Declared(it.results / "filled" / f"{m}.csv", "filled", None) for m in it.study.manifests("filled")]
    return [each for each in every if each.file.is_file()]


def files_of(it: Inspection, declared: Iterable[Declared], group: Group) -> dict[Path, list[tuple[Declared, int]]]:
    """The label files that the CSVs name, each with where it is named (CSV and place); damaged CSVs are noted."""
    named: dict[Path, list[tuple[Declared, int]]] = {}
    for each in declared:
        try:
            for place, row in enumerate(each.rows):
                named.setdefault(it.results / row["file"], []).append((each, place))
        except UserError as error:
            refuse_unreadable(error)
            it.remake(group, "label CSVs that are damaged", each.file, str(error))
    return named


def sources_of(it: Inspection, declared: Iterable[Declared]) -> Iterator[Path]:
    """The dataset's files that the declared labels rest on: annotations, key frames, the frames out to each label."""
    for each in declared:
        for clip, offsets in (each.wanted or {}).values():
            labels = clip.annotated("coarse" if each.stage == "refined" else "fine")
            frames = {clip.image_at(o) for far in offsets for o in (0, *clip.outward(far))}
            yield from (it.root / path for path in (*labels, *frames))


def inspect_labels(
    it: Inspection,
    declared: list[Declared],
    named: Mapping[Path, list[tuple[Declared, int]]],
    seen: Mapping[Path, Seen],
    group: Group,
) -> None:
    """Hold label files against the CSVs that name them, these against the plan, and both against the dataset."""
    for file, found in seen.items():
        if found.fault:
            it.remake(group, f"label files {found.fault}", file)
            it.broken.update({each.file: None for each, _ in named.get(file, ())})
    for each in declared:
        if each.file not in it.broken:
            _inspect_csv(it, each, seen, group)
    _inspect_collected(it, declared, group)
    clips = {(each.stage, id_): clip for each in declared for id_, (clip, _) in (each.wanted or {}).items()}
    for file, found in seen.items():
        stage = file.relative_to(it.results).parts[0]
        if not found.fault and stage == "filled":
            _inspect_filled(it, file, found, group)
        elif not found.fault:
            offsets = [int(each.rows[place]["offset"]) for each, place in named.get(file, ())]
            _inspect_origin(it, file, found, clips.get((stage, str(found.provenance.get("clip")))), offsets, group)
    labels = sum(len(each.rows) for each in declared)
    group.summary = f"{plural(len(seen), 'label file')}, {plural(labels, 'declared label')}"


def _inspect_csv(it: Inspection, each: Declared, seen: Mapping[Path, Seen], group: Group) -> None:
    """The rows against what the label files hold, and against the plan."""
    wrong = [
        row
        for row in each.rows
        if seen[it.results / row["file"]].layers.get(int(row["offset"])) != (row["fingerprint"], row["checksum"])
    ]
    if wrong:
        detail = f"{plural(len(wrong), 'row')}, the first of {wrong[0]['clip']} at {int(wrong[0]['offset']):+d}"
        it.remake(group, "label CSVs that say other than the label files", each.file, detail)
        return
    if each.wanted is not None:
        listed = {(row["clip"], int(row["offset"])) for row in each.rows}
        dealt = {(id_, offset) for id_, (_, offsets) in each.wanted.items() for offset in offsets}
        if listed != dealt:
            detail = f"{len(dealt - listed)} lacking, {len(listed - dealt)} more"
            it.remake(group, "label CSVs that do not list what the plan deals out", each.file, detail)


def _inspect_collected(it: Inspection, declared: list[Declared], group: Group) -> None:
    """Each method's gathered CSV against those of its shards."""
    for folder in dict.fromkeys(each.file.parent for each in declared if each.shard):
        gathered = folder / "labels.csv"
        mine = [each for each in declared if each.file.parent == folder]
        if any(each.file in it.broken for each in mine) or len(mine) < len(it.study.shards):
            continue  # it is made again anyway
        rows = [tuple(row[c] for c in LABEL_COLUMNS) for each in mine for row in each.rows]
        try:
            there = [tuple(row[c] for c in LABEL_COLUMNS) for row in read_csv(gathered, LABEL_COLUMNS)]
        except UserError:
            there = []
        if sorted(there) != sorted(rows):
            it.remake(group, "gathered label CSVs that are not those of their shards", gathered)


def _inspect_filled(it: Inspection, file: Path, found: Seen, group: Group) -> None:
    """A filled label file's name against its provenance, and the model that filled it against the one that is there."""
    known = found.provenance
    model = Path(str(known.get("model")))
    if file.stem != f"{known.get('clip')}-{digest({**known, 'model': ''})}":
        it.remake(group, "label files that are not what their names say", file)
    elif model.is_file() and it.contents.of(model) != known.get("model_hash"):
        mend = "Run the same `snakemake` command; where the model itself is to be mended, mend that first."
        group.add(FAULT, "labels filled by another model than there is", it.shown(file), mend)


def _inspect_origin(
    it: Inspection, file: Path, found: Seen, clip: Clip | None, offsets: Iterable[int], group: Group
) -> None:
    """A label file's name and declared fingerprints against its provenance, and that against the dataset as it is."""
    known, base = found.provenance, digest(found.provenance)
    if file.stem != f"{known.get('clip')}-{base}":
        it.remake(group, "label files that are not what their names say", file)
        return
    if clip is None:
        return  # no plan names it any more: the rows of manifests tell
    coarse = file.relative_to(it.results).parts[0] == "refined"
    recorded = {known["annotation"]: known["annotation_hash"], clip.image: known["image_hash"]}
    if instances := known.get("instances_hash"):
        recorded[clip.coarse_instances if coarse else clip.fine_instances] = instances
    if it.blame(recorded, recorded):
        return
    for offset in offsets:
        chain, frames = base, [clip.image_at(o) for o in clip.outward(offset)]
        for frame in frames:
            chain = digest(chain, it.contents.of(it.root / frame))
        if before_policy(found.layers.get(offset, (chain, ""))[0]) != chain:
            if not it.blame(frames):
                mend = "Run the same `snakemake` command; where nothing is due, restore the frames from a copy."
                group.add(
                    FAULT, "labels carried over other frames than there are", it.shown(file), mend, f"{offset:+d}"
                )
            return
