"""A verification: from the dataset's files up to the tables, each piece read anew and held against what is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.doctor.report import Group
from fewframes.keeping import labelfiles, samples, trained, weights
from fewframes.keeping.inspection import Inspection, Verdict, begin
from fewframes.keeping.printed import inspect_figures, inspect_tables
from fewframes.keeping.running import refuse_while_running
from fewframes.labelling.correctionfolder import read_corrections


@dataclass
class Verified:
    """What a verification found: its report, and what `mend` needs to know."""

    report: Verdict
    inspection: Inspection
    config: Path


def verify(config: Path, repository: Path, workers: int, to_mend: bool = False) -> Verified:
    """Read again what the tables of the config at `config` rest on; nothing is written.

    `repository` is the folder with the workflow's `workflow/`; paths in the config are relative to the working
    directory. `workers` threads read files, as many processes label files. Raises `UserError` for a config that the
    workflow would refuse, where nothing was made by it yet, where it is `to_mend` results that somebody works on, and
    where a file is there and cannot be read: that tells nothing of what it holds.
    """
    try:
        return _verified(config, repository, workers, to_mend)
    except OSError as error:
        raise UserError(
            f"{error.filename or config} is out of reach ({error.strerror or error}): nothing was changed; verify "
            "again when it can be read."
        ) from error


def _verified(config: Path, repository: Path, workers: int, to_mend: bool) -> Verified:
    it = begin(config, repository, workers)
    if to_mend:
        refuse_while_running(it.results)
    names = ("Labels", "Manifests", "Trainings", "Scores", "Tables", "Figures", "Weights")
    labels, rows, trainings, scores, tables, figures, files = groups = [Group(name) for name in names]
    manifests = samples.read_manifests(it, rows)
    declared = labelfiles.declared_labels(it)
    named = labelfiles.files_of(it, declared, labels)
    made = sorted(named.keys() | samples.label_files_of(it, manifests))
    seen = dict(zip(made, it.case.shared(labelfiles.look, made, "label files"), strict=True))
    sound_csvs = [each for each in declared if each.file not in it.broken]
    sources = {*labelfiles.sources_of(it, sound_csvs), *samples.sources_of(it, manifests)}
    it.contents.read(sources, "the dataset's files")
    it.dataset.summary = f"{len(sources):,} files in use"
    _inspect_corrections(it)
    labelfiles.inspect_labels(it, sound_csvs, named, seen, labels)
    samples.inspect_samples(it, manifests, seen, rows)
    runs = trained.begun_runs(it)
    samples.missing_manifests(it, runs, rows)
    it.contents.read((m for run in runs if (m := run / "model.safetensors").is_file()), "models")
    trained.inspect_trainings(it, runs, trainings)
    trained.inspect_scores(it, runs, _evaluated(it, manifests), scores)
    inspect_tables(it, sound(it), tables)
    inspect_figures(it, figures)
    weights.inspect_weights(it, seen, runs, files)
    report = Verdict(f"fewframes verify: {config}, {it.results}", [it.dataset, *groups])
    return Verified(report, it, config)


def _inspect_corrections(it: Inspection) -> None:
    """Corrected labels carry checksums of their own, where they were imported to."""
    if it.study.corrections:
        try:
            read_corrections(Path(it.study.corrections))
        except UserError as error:
            it.dataset.refused("corrected labels that are not as they were imported", it.study.corrections, error)


def _evaluated(it: Inspection, manifests: samples.Manifests) -> list[str] | None:
    """The clips of the evaluation's manifest, where it can be read."""
    frames = manifests.get(it.results / "manifests" / "evaluation.csv")
    return None if frames is None else [sample.clip for sample in frames]


def sound(it: Inspection) -> bool:
    """Whether what tables are printed from is as it should be: manifests, confusion matrices and scores."""
    printed_from = (file for file in it.broken if "manifests" in file.parts or file.name == "confusion.npz")
    return not it.rescored and not any(printed_from)
