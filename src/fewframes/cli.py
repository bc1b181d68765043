"""The command line: one command a stage, thin, its stage imported only when called."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from fewframes import __version__
from fewframes.core.errors import UserError


class _Settings(click.ParamType[Any]):
    """Settings as inline JSON, or a YAML or JSON file."""

    name = "JSON or file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            text = value if value.lstrip().startswith("{") else Path(value).read_text(encoding="utf-8")
            settings = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"Settings '{value}' are neither JSON nor a readable YAML file ({error}).") from error
        if not isinstance(settings, dict):
            raise UserError(f"Settings '{value}' must map keys to values.")
        return _Given(settings)


class _Given(dict[str, Any]):
    """Settings that say which key they lack."""

    def __missing__(self, key: str) -> Any:
        raise UserError(
            f"--settings lacks the key '{key}': `snakemake -n -p` shows this stage with all of its settings."
        )


Command = TypeVar("Command", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)


def _path(name: str, help_text: str) -> Callable[[Command], Command]:
    return click.option(name, type=_PATH, required=True, help=help_text)


_LABELS = (str, _PATH)
_labels = _path("--labels", "The labels made: a method's collected CSV.")
_root = _path("--root", "The dataset's folder.")
_results = _path("--results", "The dataset's folder of results.")
_out = _path("--out", "What to write.")
_classes = click.option("--classes", required=True, help="Class table: a name or a YAML file.")
_method = click.option("--method", required=True, help="The method's name.")
_settings = click.option("--settings", type=_Settings(), default="{}", help="The stage's settings: JSON, or a file.")
_threads = click.option("--threads", default=0, show_default=True, help="CPU threads; 0 leaves it to the libraries.")
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
_catalogue = _path("--catalogue", "The catalogue of experiments (YAML).")


def _options(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several options as one decorator, shown in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_shard = _path("--shard", "The clips to label: one shard of the plan.")
_labelling = _options(_shard, _method, _settings, _root, _classes, _results, _out, _threads)
_sheet = _options(_settings, _root, _classes, _results, _labels, _out)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def app() -> None:
    """Fewframes: how little manual annotation is enough for video semantic segmentation?

    Each command is one stage; `snakemake` calls them in order.
    """


@app.command()
@click.argument("root", type=_PATH)
@_settings
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


@app.command()
@_settings
@_out
def plan(settings: dict[str, Any], out: Path) -> None:
    """Index the dataset and deal what must be labelled to shards."""
    from fewframes.core.labels import load_class_table
    from fewframes.datasets import index
    from fewframes.experiments.plan import Request, write_plan
    from fewframes.experiments.schemes import experiment_from

    clips = index(settings["reader"], settings["root"], load_class_table(settings["classes"]), settings["options"])
    request = Request(
        experiments=[experiment_from(id_, recipe) for id_, recipe in settings["experiments"].items()],
        draws=settings["draws"],
        past_frames=settings["past_frames"],
        measured=settings["measured"],
        reach=settings["reach"],
    )
    write_plan(clips, settings["root"], request, settings["shards"], out)


@app.command()
@_labelling
def propagate(
    shard: Path, method: str, settings: dict[str, Any], root: Path, classes: str, results: Path, out: Path, threads: int
) -> None:
    """Carry the key frames' labels of a shard to their neighbours."""
    from fewframes.core.labels import load_class_table
    from fewframes.labelling.propagation.driver import propagate_shard

    _limit_opencv(threads)
    propagate_shard(shard, method, settings, root, load_class_table(classes), results, out)


@app.command()
@_labelling
def refine(
    shard: Path, method: str, settings: dict[str, Any], root: Path, classes: str, results: Path, out: Path, threads: int
) -> None:
    """Refine the coarse labels of a shard."""
    from fewframes.core.labels import load_class_table
    from fewframes.labelling.refinement.driver import refine_shard

    _limit_opencv(threads)
    refine_shard(shard, method, settings, root, load_class_table(classes), results, out)


@app.command()
@_out
@click.argument("shards", type=_PATH, nargs=-1, required=True)
def collect(out: Path, shards: tuple[Path, ...]) -> None:
    """Gather the CSVs of labels that SHARDS declared into one."""
    from fewframes.experiments.manifests import collect_labels

    collect_labels(shards, out)


@app.command()
@_method
@_classes
@_results
@_path("--truth", "The folder of dense labels.")
@click.option("--reach", type=int, required=True, help="How far from the key frame, in frames.")
@click.option("--split", "splits", multiple=True, required=True, help="A split whose clips are measured (repeatable).")
@_labels
@_out
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
    write_quality(method, labels, clips, reach, results, truth, load_class_table(classes), out)


@app.command()
@click.option("--family", required=True, help="Names the cache of content hashes.")
@_settings
@_root
@_results
@click.option("--pseudo", type=_LABELS, help="The pseudo-labels: a method and its collected CSV.")
@click.option("--refined", type=_LABELS, help="The refined labels: a method and their collected CSV.")
def manifests(
    family: str,
    settings: dict[str, Any],
    root: Path,
    results: Path,
    pseudo: tuple[str, Path] | None,
    refined: tuple[str, Path] | None,
) -> None:
    """Write the exact samples of a family of experiments."""
    from fewframes.experiments.manifests import Labels, write_family

    made = {kind: Labels(*named) for kind, named in (("pseudo", pseudo), ("refined", refined)) if named}
    write_family(family, settings, root, results, made)


@app.command()
@_path("--manifest", "The training samples.")
@_settings
@click.option("--housekeeping", type=_Settings(), default="{}", help="More settings, which no result depends on.")
@_root
@_classes
@_results
@click.option("--seed", default=0, show_default=True, help="Decides initialisation, order and augmentation.")
@_out
@_path("--checkpoints", "Folder of the checkpoints that a killed training goes on from.")
@_threads
@_device
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
    training.train(manifest, root, results, table, chosen, seed, out, checkpoints, device, threads or None)


@app.command()
@_path("--model", "The trained network.")
@_path("--manifest", "The frames to score on.")
@_settings
@_root
@_classes
@_results
@_out
@_threads
@_device
def evaluate(
    model: Path,
    manifest: Path,
    settings: dict[str, Any],
    root: Path,
    classes: str,
    results: Path,
    out: Path,
    threads: int,
    device: str,
) -> None:
    """Score a trained network: confusion matrices, mIoU, mAcc, per class."""
    from fewframes.core.labels import load_class_table
    from fewframes.learning import evaluation

    table = load_class_table(classes)
    evaluation.evaluate(model, manifest, root, results, table, out, settings, device, threads or None)


def _limit_opencv(threads: int) -> None:
    import cv2

    if threads:
        cv2.setNumThreads(threads)


_definition = _path("--definition", "The table's definition (YAML).")


@app.command()
@_definition
@_settings
@_catalogue
@_classes
@_results
@_out
def table(definition: Path, settings: dict[str, Any], catalogue: Path, classes: str, results: Path, out: Path) -> None:
    """Print a table of the paper from the runs: OUT.csv, .md, .tex and .html."""
    from fewframes.core.labels import load_class_table
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.statistics import Grid
    from fewframes.reporting.tables import write_table

    write_table(
        definition,
        load_catalogue(catalogue),
        Grid.of(results, settings),
        load_class_table(classes),
        out,
        dataset=results.name,
        note=settings["note"],
    )


@app.group()
def figure() -> None:
    """Draw a figure: OUT.png and OUT.pdf."""


@figure.command()
@_definition
@_settings
@_catalogue
@_results
@_out
def figure4(definition: Path, settings: dict[str, Any], catalogue: Path, results: Path, out: Path) -> None:
    """mIoU against the share of coarse labels, refined and not (the paper's figure 4)."""
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.figures import write_coarse_figure
    from fewframes.reporting.statistics import Grid

    write_coarse_figure(definition, load_catalogue(catalogue), Grid.of(results, settings), out, settings["note"])


@figure.command()
@click.option("--network", required=True, help="The network whose runs are drawn.")
@_settings
@_catalogue
@_classes
@_results
@_out
def cost(network: str, settings: dict[str, Any], catalogue: Path, classes: str, results: Path, out: Path) -> None:
    """mIoU against hours of annotation, a point an experiment."""
    from fewframes.core.labels import load_class_table
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.figures import write_cost_curve
    from fewframes.reporting.statistics import Grid

    grid, table = Grid.of(results, settings), load_class_table(classes)
    write_cost_curve(load_catalogue(catalogue), grid, table, network, out, settings["note"])


@figure.command(name="quality")
@_settings
@_out
@click.argument("tables", type=_PATH, nargs=-1, required=True)
def quality_figure(settings: dict[str, Any], out: Path, tables: tuple[Path, ...]) -> None:
    """Pseudo-label quality and coverage by distance from the key frame, from quality TABLES."""
    from fewframes.reporting.figures import write_quality_figure

    write_quality_figure(tables, out, settings["note"])


@figure.command()
@_sheet
def propagation(settings: dict[str, Any], root: Path, classes: str, results: Path, labels: Path, out: Path) -> None:
    """Key frames with their pseudo-labels (the paper's figure 2)."""
    from fewframes.core.clips import read_clips
    from fewframes.core.labels import load_class_table
    from fewframes.reporting.pictures import write_propagation_sheet

    clips = read_clips(results / "index.csv")
    write_propagation_sheet(clips, labels, root, results, load_class_table(classes), out, settings["note"])


@figure.command()
@_sheet
def refinement(settings: dict[str, Any], root: Path, classes: str, results: Path, labels: Path, out: Path) -> None:
    """Coarse labels beside refined and fine ones (the paper's figure 3)."""
    from fewframes.core.clips import read_clips
    from fewframes.core.labels import load_class_table
    from fewframes.reporting.pictures import write_refinement_sheet

    clips = read_clips(results / "index.csv")
    write_refinement_sheet(clips, labels, root, results, load_class_table(classes), out, settings["note"])


def main() -> None:
    """Run the command line; a fault of the user's is one sentence and exit code 2."""
    try:
        app(standalone_mode=False)
    except UserError as error:
        print(f"fewframes: {error}", file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
