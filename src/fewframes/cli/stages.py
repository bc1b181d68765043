"""The commands that rules call to make data: a stage each, its stage imported only when called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewframes.cli import options
from fewframes.core.clips import PREPARED_FOLDER, dataset_root
from fewframes.core.errors import UserError
from fewframes.core.files import write_csv
from fewframes.experiments.schemes import MEASURED

if TYPE_CHECKING:
    from fewframes.datasets.source import Source


@click.command()
@click.argument("root", type=options.PATH)
@options.settings
@click.option("--workers", default=1, show_default=True, help="Processes that draw.")
def toycity(root: Path, settings: dict[str, Any], workers: int) -> None:
    """Write toy city, a generated dataset of driving clips, to ROOT."""
    from fewframes.datasets.toycity import ToyCitySettings, write_toycity

    try:
        chosen = ToyCitySettings(**settings)
    except TypeError as error:
        known = ", ".join(ToyCitySettings.__dataclass_fields__)
        raise UserError(f"toycity's settings are {known}, not all of {', '.join(settings)}.") from error
    write_toycity(root, chosen, workers)


def _source(settings: dict[str, Any], results: Path) -> Source:
    from fewframes.core.labels import load_class_table
    from fewframes.datasets.source import Source

    return Source(
        folder=Path(settings["root"]),
        prepared=results / PREPARED_FOLDER,
        classes=load_class_table(settings["classes"]),
        options=settings["options"],
        truth=Path(settings["truth"]) if settings["truth"] else None,
    )


@click.command()
@options.settings
@options.results
@click.option("--workers", default=1, show_default=True, help="Processes that draw and decode.")
def prepare(settings: dict[str, Any], results: Path, workers: int) -> None:
    """Make what the dataset does not ship in a readable form: polygons drawn, colours read, videos decoded."""
    from fewframes.core.files import ContentHashes
    from fewframes.datasets import prepare_dataset

    hashes = ContentHashes(results / "hashes", "prepare")
    prepare_dataset(settings["reader"], _source(settings, results), hashes, workers)


@click.command()
@click.argument("name", type=click.Choice(MEASURED))
@options.settings
@options.results
@options.out
@click.option("--workers", default=1, show_default=True, help="Processes that decode and measure.")
def selection(name: str, settings: dict[str, Any], results: Path, out: Path, workers: int) -> None:
    """Measure what the selection NAME rests on, of every training clip."""
    from fewframes.core.files import ContentHashes
    from fewframes.datasets import index
    from fewframes.experiments.measuring import measure_clips
    from fewframes.experiments.plan import Request

    source = _source(settings, results)
    clips = [c for c in index(settings["reader"], source) if c.split == Request.split and c.fine]
    hashes = ContentHashes(results / "hashes", f"selection-{name}")
    kept = results / "selection" / "kept" / f"{name}.csv"
    measure_clips(name, clips, source.root, hashes, kept, out, workers)


@click.command()
@options.settings
@options.out
def needs(settings: dict[str, Any], out: Path) -> None:
    """Index the dataset and deal what needs labelling to shards: the plan of a study."""
    from fewframes.datasets import index
    from fewframes.experiments.plan import Request, write_plan
    from fewframes.experiments.schemes import experiment_from

    source = _source(settings, out)
    try:
        clips = index(settings["reader"], source)
    finally:
        write_csv(out / "left_out.csv", ("reason", "file"), source.left_out.rows)
    request = Request(
        experiments=[experiment_from(id_, recipe) for id_, recipe in settings["experiments"].items()],
        refinement=settings.get("refinement", ""),
        draws=settings["draws"],
        past_frames=settings["past_frames"],
        classes=source.classes,
        measured=settings["measured"],
        reach=settings["reach"],
        offsets=tuple(settings["offsets"]) if settings["offsets"] else None,
        corrections=Path(settings["corrections"]) if settings["corrections"] else None,
    )
    write_plan(clips, source.root, request, settings["shards"], out)


@click.command()
@options.labelling
def propagate(**given: Any) -> None:
    """Carry the key frames' labels of a shard to their neighbours."""
    from fewframes.labelling.propagation.driver import propagate_shard

    _label(propagate_shard, **given)


@click.command()
@options.labelling
def refine(**given: Any) -> None:
    """Refine the coarse labels of a shard."""
    from fewframes.labelling.refinement.driver import refine_shard

    _label(refine_shard, **given)


def _label(
    write: Callable[..., None],
    *,
    shard: Path,
    method: str,
    settings: dict[str, Any],
    root: Path,
    classes: str,
    results: Path,
    out: Path,
    threads: int,
    housekeeping: dict[str, Any],
) -> None:
    from fewframes.core.labels import load_class_table

    _limit_opencv(threads)
    files, table = dataset_root(root, results), load_class_table(classes)
    write(shard, method, settings, files, table, results, out, {**housekeeping, "threads": threads})


@click.command()
@options.out
@click.argument("shards", type=options.PATH, nargs=-1, required=True)
def collect(out: Path, shards: tuple[Path, ...]) -> None:
    """Gather the CSVs of labels that SHARDS declared into one."""
    from fewframes.experiments.manifests import collect_labels

    collect_labels(shards, out)


@click.command()
@options.method
@options.classes
@options.results
@options.path("--truth", "The folder of dense labels.")
@click.option("--reach", type=int, required=True, help="How far from the key frame, in frames.")
@click.option("--split", "splits", multiple=True, required=True, help="A split whose clips are measured (repeatable).")
@options.labels
@options.out
def quality(
    method: str,
    classes: str,
    results: Path,
    truth: Path,
    reach: int,
    splits: tuple[str, ...],
    labels: Path,
    out: Path,
) -> None:
    """Measure pseudo-labels against dense truth."""
    from fewframes.core.clips import read_clips
    from fewframes.core.labels import load_class_table
    from fewframes.labelling.quality import write_quality

    clips = [clip for clip in read_clips(results / "index.csv") if clip.split in splits]
    write_quality(method, labels, clips, reach, results, dataset_root(truth, results), load_class_table(classes), out)


@click.command()
@options.method
@options.root
@options.classes
@options.results
@options.labels
@options.out
def refinement_quality(method: str, root: Path, classes: str, results: Path, labels: Path, out: Path) -> None:
    """Measure refined labels, and the coarse ones they come from, against fine ones of the same images."""
    from fewframes.core.clips import read_clips
    from fewframes.core.labels import load_class_table
    from fewframes.labelling.refinementquality import write_refinement_quality

    clips, files = read_clips(results / "index.csv"), dataset_root(root, results)
    write_refinement_quality(method, labels, clips, files, results, load_class_table(classes), out)


@click.command()
@options.method
@options.settings
@options.housekeeping
@options.root
@click.option("--truth", type=options.PATH, help="The folder of dense labels, where there is one.")
@options.classes
@options.results
@options.labels
@click.option("--clips", "count", default=20, show_default=True, help="Training clips to measure.")
@options.out
@options.path("--curve", "The policy curve to write.")
@options.path("--cache", "Folder of what was measured before.")
@options.threads
def signals(
    method: str,
    settings: dict[str, Any],
    housekeeping: dict[str, Any],
    root: Path,
    truth: Path | None,
    classes: str,
    results: Path,
    labels: Path,
    count: int,
    out: Path,
    curve: Path,
    cache: Path,
    threads: int,
) -> None:
    """Measure what tells good pseudo-labels from bad without truth, by carrying them back to their key frames."""
    from fewframes.core.clips import read_clips
    from fewframes.core.labels import load_class_table
    from fewframes.labelling.signals import write_signals

    _limit_opencv(threads)
    write_signals(
        method,
        settings,
        labels,
        read_clips(results / "index.csv"),
        dataset_root(root, results),
        dataset_root(truth, results) if truth else None,
        load_class_table(classes),
        results,
        count,
        out=out,
        curve=curve,
        cache=cache,
        housekeeping={**housekeeping, "threads": threads},
    )


@click.command()
@click.option("--family", required=True, help="Names the cache of content hashes.")
@options.settings
@options.root
@options.results
@click.option("--pseudo", type=options.METHOD_AND_FILE, help="The pseudo-labels: a method and its collected CSV.")
@click.option(
    "--refined",
    type=options.METHOD_AND_FILE,
    multiple=True,
    help="The refined labels: a method and their collected CSV (repeatable, the config's method first).",
)
def manifests(
    family: str,
    settings: dict[str, Any],
    root: Path,
    results: Path,
    pseudo: tuple[str, Path] | None,
    refined: tuple[tuple[str, Path], ...],
) -> None:
    """Write the exact samples of a family of experiments."""
    from fewframes.experiments.manifests import Labels, write_family

    named = {"pseudo": [pseudo] if pseudo else [], "refined": refined}
    made = {kind: {method: Labels(method, path) for method, path in each} for kind, each in named.items() if each}
    write_family(family, settings, dataset_root(root, results), results, made)


@click.command()
@options.path("--manifest", "The training samples.")
@options.settings
@options.housekeeping
@options.root
@options.classes
@options.results
@click.option("--seed", default=0, show_default=True, help="Decides initialisation, order and augmentation.")
@options.out
@options.path("--checkpoints", "Folder of the checkpoints that a killed training goes on from.")
@options.threads
@options.device
def train(
    manifest: Path,
    settings: dict[str, Any],
    housekeeping: dict[str, Any],
    root: Path,
    classes: str,
    results: Path,
    seed: int,
    out: Path,
    checkpoints: Path,
    threads: int,
    device: str,
) -> None:
    """Train a network on a manifest; goes on where a killed training stopped."""
    from fewframes.core.labels import load_class_table
    from fewframes.learning import training

    table = load_class_table(classes)
    chosen = {**settings, **housekeeping}
    training.train(
        manifest, dataset_root(root, results), results, table, chosen, seed, out, checkpoints, device, threads or None
    )


@click.command()
@click.option("--model", "models", type=options.PATH, multiple=True, required=True, help="A trained network.")
@options.path("--manifest", "The frames to score on.")
@options.settings
@options.root
@options.classes
@options.results
@click.option(
    "--out", "outs", type=options.PATH, multiple=True, required=True, help="Folder to write a model's scores to."
)
@options.threads
@options.device
def evaluate(
    models: tuple[Path, ...],
    manifest: Path,
    settings: dict[str, Any],
    root: Path,
    classes: str,
    results: Path,
    outs: tuple[Path, ...],
    threads: int,
    device: str,
) -> None:
    """Score trained networks, each --model to the --out of its place: confusion matrices, mIoU, mAcc, per class."""
    from fewframes.core.labels import load_class_table
    from fewframes.learning import evaluation

    if len(models) != len(outs):
        raise UserError(f"{len(models)} --model and {len(outs)} --out are given: give each model a folder of its own.")
    table, files = load_class_table(classes), dataset_root(root, results)
    for model, out in zip(models, outs, strict=True):
        evaluation.evaluate(model, manifest, files, results, table, out, settings, device, threads or None)


def _limit_opencv(threads: int) -> None:
    import cv2

    if threads:
        cv2.setNumThreads(threads)
