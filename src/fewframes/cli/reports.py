"""The commands that print tables, claims and budgets; rules call all but the budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import fewframes
from fewframes.cli import options

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
