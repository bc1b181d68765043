"""The command that makes one page of everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fewframes.cli import options


@click.command()
@options.settings
@click.option("--config", type=options.Settings(), default="{}", help="The config to show: JSON, or a file.")
@options.catalogue
@options.classes
@options.results
@options.out
@options.path("--captions", "The folder of the figures' captions.")
@click.option(
    "--labelled", type=(str, str), multiple=True, metavar="STAGE METHOD", help="Labels made: pseudo or refined, and by."
)
@click.argument("files", type=options.PATH, nargs=-1)
def report(
    settings: dict[str, Any],
    config: dict[str, Any],
    catalogue: Path,
    classes: str,
    results: Path,
    out: Path,
    captions: Path,
    labelled: tuple[tuple[str, str], ...],
    files: tuple[Path, ...],
) -> None:
    """One page that opens from disk, of those FILES in RESULTS: printed tables, figures, quality tables, galleries."""
    from fewframes.core.labels import load_class_table
    from fewframes.experiments.schemes import load_catalogue
    from fewframes.reporting.marks import marked_note
    from fewframes.reporting.site import Study, write_site
    from fewframes.reporting.statistics import Grid

    grid = Grid.of(results, settings)
    made = {stage: [method for s, method in labelled if s == stage] for stage, _ in labelled}
    experiments, table = load_catalogue(catalogue), load_class_table(classes)
    # The plain dictionary: settings that lack a key name it, and here all are optional.
    study = Study(results, dict(config), grid, experiments, table, made, marked_note(grid, settings))
    write_site(study, files, captions, out)
