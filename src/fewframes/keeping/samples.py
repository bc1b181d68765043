"""Manifests: every row's image, memory frames and label against the fingerprint that the row carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.core.files import digest
from fewframes.core.images import read_label
from fewframes.doctor.report import FAULT, Group, plural
from fewframes.keeping.contents import AS_KNOWN, refuse_unreadable
from fewframes.keeping.inspection import Inspection
from fewframes.keeping.labelfiles import Seen, leads_out
from fewframes.learning.samples import Sample, label_known_by, read_manifest

Manifests = Mapping[Path, list[Sample]]
"""The samples of each manifest that is there."""

_UNTOLD = (
    "Restore what was damaged, if anything was; otherwise run the same `snakemake` command with `--forcerun "
    "manifests_annotated`, and what changed is trained again."
)


def read_manifests(it: Inspection, group: Group) -> dict[Path, list[Sample]]:
    """The manifests of the config's experiments, and of the evaluation, that are there; damaged ones are noted."""
    names = [name for family in it.study.families for name in it.study.manifests(family)]
    manifests: dict[Path, list[Sample]] = {}
    # Hundreds of manifests are made of the same few ten thousand samples: each is held once.
    once: dict[Sample, Sample] = {}
    for name in (*names, "evaluation"):
        file = it.results / "manifests" / f"{name}.csv"
        if not file.is_file():
            continue
        try:
            samples = read_manifest(file)
            if any(sample.in_label_file and leads_out(sample.label) for sample in samples):
                raise UserError(f"{file} names a file outside the results: make it again with `snakemake`.")
            manifests[file] = [once.setdefault(sample, sample) for sample in samples]
        except UserError as error:
            refuse_unreadable(error)
            it.remake(group, "manifests that are damaged", file, str(error))
    return manifests


def label_files_of(it: Inspection, manifests: Manifests) -> set[Path]:
    """The label files that samples name."""
    return {it.results / s.label for samples in manifests.values() for s in samples if s.in_label_file}


def sources_of(it: Inspection, manifests: Manifests) -> Iterator[Path]:
    """The dataset's files that samples name."""
    for sample in {sample for samples in manifests.values() for sample in samples}:
        yield from (it.root / path for path in _paths(sample))


def inspect_samples(it: Inspection, manifests: Manifests, seen: Mapping[Path, Seen], group: Group) -> None:
    """Hold every row against its fingerprint; equal rows of several manifests are looked at once."""
    rows = {sample: file for file, samples in manifests.items() for sample in samples}
    faulty: dict[Path, list[Sample]] = {}
    for sample, file in rows.items():
        label = seen.get(it.results / sample.label) if sample.in_label_file else None
        if label and label.fault:
            continue  # noted with the label files
        if _fingerprint(it, sample, label) != sample.fingerprint and not it.blame(_paths(sample)):
            faulty.setdefault(file, []).append(sample)
    for file, samples in faulty.items():
        first = samples[0]
        detail = f"{plural(len(samples), 'row')}, the first of {first.clip} at {first.offset:+d}"
        if all(it.contents.became(it.root / path) == AS_KNOWN for s in samples for path in _paths(s)):
            # The files are what they were, so it is the manifest that is not.
            it.remake(group, "manifests that say other than the files that they name", file, detail)
        else:
            what = "samples of which something changed, nobody knows what"
            group.add(FAULT, what, it.shown(file), _UNTOLD, detail)
    group.summary = f"{plural(len(manifests), 'manifest')}, {plural(len(rows), 'sample')}"


def _paths(sample: Sample) -> list[str]:
    """The sample's files below the dataset's root."""
    return [sample.image, *sample.memory, *([] if sample.in_label_file else [sample.label])]


def _fingerprint(it: Inspection, sample: Sample, label: Seen | None) -> str:
    """What a manifest written now would say of the sample, from what its files hold; see `sample_fingerprint`."""
    file, layers = it.root / sample.label, label.layers if label else {}
    try:
        known_by = label_known_by(
            sample, layers, lambda: it.classes.to_train_ids(read_label(file), file), lambda: it.contents.of(file)
        )
    except UserError as error:
        refuse_unreadable(error)
        known_by = ""
    return digest([it.contents.of(it.root / path) for path in (sample.image, *sample.memory)], known_by)


def missing_manifests(it: Inspection, runs: Iterable[Path], group: Group) -> None:
    """Note the manifests that runs were trained on and that are not there."""
    for run in runs:
        file = it.results / "manifests" / run.parent.name / f"{run.name.partition('-')[0]}.csv"
        if not file.is_file() and file not in it.broken:
            it.remake(group, "missing manifests", file)
