"""The commands that print tables, claims and budgets and draw figures; rules call all but the budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import fewframes
from fewframes.cli import options
from fewframes.core.clips import dataset_root

_definition = options.path("--definition", "The table's definition (YAML).")
_printed = options.together(
    _definition, options.settings, options.catalogue, options.classes, options.results, options.out
)


@click.command()
@_printed
def table(**given: Any) -> None:
    """Print a table of the paper from the runs: OUT.csv, .md, .tex and .html."""
    from fewframes.reporting.tables import write_table

    _print(write_table, **given)


@click.command()
@_printed
def claims(**given: Any) -> None:
    """Say which of the paper's claims the runs bear out: OUT.csv, .md and .html."""
    from fewframes.reporting.claims import write_claims

    _print(write_claims, **given)


def _print(
    write: Callable[..., None],
    *,
    definition: Path,
    settings: dict[str, Any],
    catalogue: Path,
    classes: str,
    results: Path,
    out: Path,
) -> None:
    from fewframes.core.labels import load_class_table
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.marks import marked_note
    from fewframes.reporting.statistics import Grid

    grid = Grid.of(results, settings)
    experiments, table = load_catalogue(catalogue), load_class_table(classes)
    write(definition, experiments, grid, table, out, dataset=results.name, note=marked_note(grid, settings))


@click.command()
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), required=True, help="Hours of annotation.")
@options.results
@options.classes
@click.option("--network", default="tmanet", show_default=True, help="The network to train.")
@click.option(
    "--catalogue",
    type=options.PATH,
    default=Path(fewframes.__file__).parents[2] / "workflow" / "experiments" / "catalogue.yaml",
    show_default="of this installation",
    help="The catalogue of experiments (YAML).",
)
def budget(hours: float, results: Path, classes: str, network: str, catalogue: Path) -> None:
    """What to annotate in so many hours, and which mIoU to expect, from the runs in RESULTS."""
    from fewframes.core.labels import load_class_table
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.budget import advice

    click.echo(advice(hours, results, network, load_catalogue(catalogue), load_class_table(classes)))


@click.group()
def figure() -> None:
    """Draw a figure: OUT.png and OUT.pdf."""


@figure.command()
@_definition
@options.settings
@options.catalogue
@options.results
@options.out
def figure4(definition: Path, settings: dict[str, Any], catalogue: Path, results: Path, out: Path) -> None:
    """mIoU against the share of coarse labels, refined and not (the paper's figure 4)."""
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.figures import write_coarse_figure
    from fewframes.reporting.marks import marked_note
    from fewframes.reporting.statistics import Grid

    grid = Grid.of(results, settings)
    write_coarse_figure(definition, load_catalogue(catalogue), grid, out, marked_note(grid, settings))


@figure.command()
@click.option("--network", required=True, help="The network whose runs are drawn.")
@options.settings
@options.catalogue
@options.classes
@options.results
@options.out
def cost(network: str, settings: dict[str, Any], catalogue: Path, classes: str, results: Path, out: Path) -> None:
    """mIoU against hours of annotation, a point an experiment."""
    from fewframes.core.labels import load_class_table
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.figures import write_cost_curve
    from fewframes.reporting.marks import marked_note
    from fewframes.reporting.statistics import Grid

    grid, table = Grid.of(results, settings), load_class_table(classes)
    write_cost_curve(load_catalogue(catalogue), grid, table, network, out, marked_note(grid, settings))


@figure.command(name="quality")
@options.settings
@options.out
@click.argument("tables", type=options.PATH, nargs=-1, required=True)
def quality_figure(settings: dict[str, Any], out: Path, tables: tuple[Path, ...]) -> None:
    """Pseudo-label quality and coverage by distance from the key frame, from quality TABLES."""
    from fewframes.reporting.figures import write_quality_figure

    write_quality_figure(tables, out, settings["note"])


@figure.command(name="signals")
@options.settings
@options.out
@click.option("--curve", "curves", type=options.PATH, multiple=True, help="A policy curve (repeatable).")
@click.argument("tables", type=options.PATH, nargs=-1, required=True)
def signals_figure(settings: dict[str, Any], out: Path, curves: tuple[Path, ...], tables: tuple[Path, ...]) -> None:
    """How well the signals of TABLES predict true IoU, and what confidence is worth."""
    from fewframes.reporting.calibration import write_calibration_figure

    write_calibration_figure(tables, curves, out, settings.get("note", ""))


@figure.command()
@options.root
@click.option("--truth", type=options.PATH, help="The folder of dense labels, where there is one.")
@options.classes
@options.results
@options.labels
@options.out
@options.settings
@click.option("--most", type=click.IntRange(min=1), default=200, show_default=True, help="Clips to show.")
def gallery(
    root: Path,
    truth: Path | None,
    classes: str,
    results: Path,
    labels: Path,
    out: Path,
    settings: dict[str, Any],
    most: int,
) -> None:
    """Pseudo-labels of many clips on one page, the worst first: OUT is an HTML file that opens from disk."""
    from fewframes.core.clips import read_clips
    from fewframes.core.labels import load_class_table
    from fewframes.reporting.gallery import write_gallery

    write_gallery(
        read_clips(results / "index.csv"),
        labels,
        dataset_root(root, results),
        dataset_root(truth, results) if truth else None,
        results,
        load_class_table(classes),
        out,
        most=most,
        note=settings.get("note", ""),
    )


@figure.command()
@options.sheet
@click.option("--clip", "only", multiple=True, help="A clip to show (repeatable); a few where none is named.")
def propagation(
    settings: dict[str, Any],
    root: Path,
    classes: str,
    results: Path,
    labels: Path,
    out: Path,
    only: tuple[str, ...],
) -> None:
    """Key frames with their pseudo-labels (the paper's figure 2)."""
    from fewframes.core.clips import read_clips
    from fewframes.core.labels import load_class_table
    from fewframes.reporting.pictures import write_propagation_sheet

    clips = read_clips(results / "index.csv")
    files, table = dataset_root(root, results), load_class_table(classes)
    write_propagation_sheet(clips, labels, files, results, table, out, settings.get("note", ""), only)


@figure.command()
@options.sheet
@click.option("--clip", "only", multiple=True, help="A clip to show (repeatable); a few where none is named.")
def refinement(
    settings: dict[str, Any],
    root: Path,
    classes: str,
    results: Path,
    labels: Path,
    out: Path,
    only: tuple[str, ...],
) -> None:
    """Coarse labels beside refined and fine ones (the paper's figure 3)."""
    from fewframes.core.clips import read_clips
    from fewframes.core.labels import load_class_table
    from fewframes.reporting.pictures import write_refinement_sheet

    clips = read_clips(results / "index.csv")
    files, table = dataset_root(root, results), load_class_table(classes)
    write_refinement_sheet(clips, labels, files, results, table, out, settings.get("note", ""), only)
