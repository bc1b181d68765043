"""The commands that draw figures; rules call them, and who wants pictures of clips of their own choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fewframes.cli import options
from fewframes.core.clips import dataset_root


@click.group()
def figure() -> None:
    """Draw a figure: OUT.png and OUT.pdf."""


_of_runs = options.together(options.settings, options.catalogue, options.results, options.out)
_definition = options.path("--definition", "The definition of the table that holds its numbers (YAML).")
_sheet = options.together(
    options.settings,
    options.root,
    options.classes,
    options.results,
    options.out,
    click.option("--clip", "only", multiple=True, help="A clip to show (repeatable); a few where none is named."),
)


@figure.command()
@_sheet
def figure1(
    settings: dict[str, Any], root: Path, classes: str, results: Path, out: Path, only: tuple[str, ...]
) -> None:
    """Fine and coarse annotations (the paper's figure 1)."""
    from fewframes.core.clips import read_clips
    from fewframes.core.labels import load_class_table
    from fewframes.reporting.pictures import write_annotation_sheet

    clips, files = read_clips(results / "index.csv"), dataset_root(root, results)
    write_annotation_sheet(clips, files, load_class_table(classes), out, settings.get("note", ""), only)


@figure.command()
@_sheet
@options.labels
def figure2(
    settings: dict[str, Any],
    root: Path,
    classes: str,
    results: Path,
    labels: Path,
    out: Path,
    only: tuple[str, ...],
) -> None:
    """Key frames with their pseudo-labels (the paper's figure 2)."""
    from fewframes.reporting.pictures import write_propagation_sheet

    _labelled(write_propagation_sheet, settings, root, classes, results, labels, out, only)


@figure.command()
@_sheet
@options.labels
def figure3(
    settings: dict[str, Any],
    root: Path,
    classes: str,
    results: Path,
    labels: Path,
    out: Path,
    only: tuple[str, ...],
) -> None:
    """Coarse labels beside refined and fine ones (the paper's figure 3)."""
    from fewframes.reporting.pictures import write_refinement_sheet

    _labelled(write_refinement_sheet, settings, root, classes, results, labels, out, only)


def _labelled(
    write: Callable[..., None],
    settings: dict[str, Any],
    root: Path,
    classes: str,
    results: Path,
    labels: Path,
    out: Path,
    only: tuple[str, ...],
) -> None:
    from fewframes.core.clips import read_clips
    from fewframes.core.labels import load_class_table

    clips, files = read_clips(results / "index.csv"), dataset_root(root, results)
    write(clips, labels, files, results, load_class_table(classes), out, settings.get("note", ""), only)


@figure.command()
@_definition
@_of_runs
def figure4(definition: Path, settings: dict[str, Any], catalogue: Path, results: Path, out: Path) -> None:
    """mIoU of TMANet against the share of coarse labels, refined and not (the paper's figure 4)."""
    _coarse(definition, settings, catalogue, results, out)


@figure.command()
@_definition
@_of_runs
def figure5(definition: Path, settings: dict[str, Any], catalogue: Path, results: Path, out: Path) -> None:
    """mIoU of TDNet against the share of coarse labels, refined and not (the paper's figure 5)."""
    _coarse(definition, settings, catalogue, results, out)


def _coarse(definition: Path, settings: dict[str, Any], catalogue: Path, results: Path, out: Path) -> None:
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.figures.curves import write_coarse_figure
    from fewframes.reporting.marks import marked_note
    from fewframes.reporting.statistics import Grid

    grid = Grid.of(results, settings)
    write_coarse_figure(definition, load_catalogue(catalogue), grid, out, marked_note(grid, settings))


@figure.command()
@_of_runs
@options.classes
def cost(settings: dict[str, Any], catalogue: Path, classes: str, results: Path, out: Path) -> None:
    """mIoU against hours of annotation, with the Pareto front."""
    from fewframes.core.labels import load_class_table
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.figures.curves import write_cost_curve
    from fewframes.reporting.marks import marked_note
    from fewframes.reporting.statistics import Grid

    grid, table = Grid.of(results, settings), load_class_table(classes)
    write_cost_curve(load_catalogue(catalogue), grid, table, out, marked_note(grid, settings))


@figure.command()
@_of_runs
def clips(settings: dict[str, Any], catalogue: Path, results: Path, out: Path) -> None:
    """mIoU against distinct clips, at equally many samples."""
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.figures.curves import write_clips_figure
    from fewframes.reporting.marks import marked_note
    from fewframes.reporting.statistics import Grid

    grid = Grid.of(results, settings)
    write_clips_figure(load_catalogue(catalogue), grid, out, marked_note(grid, settings))


@figure.command()
@options.settings
@options.out
@click.argument("tables", type=options.PATH, nargs=-1, required=True)
def quality(settings: dict[str, Any], out: Path, tables: tuple[Path, ...]) -> None:
    """Pseudo-label quality and coverage by distance from the key frame, from quality TABLES."""
    from fewframes.reporting.figures.curves import write_quality_figure

    write_quality_figure(tables, out, settings.get("note", ""))


@figure.command()
@options.settings
@options.out
@click.option("--curve", "curves", type=options.PATH, multiple=True, help="A policy curve (repeatable).")
@click.argument("tables", type=options.PATH, nargs=-1, required=True)
def signals(settings: dict[str, Any], out: Path, curves: tuple[Path, ...], tables: tuple[Path, ...]) -> None:
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
