"""The commands that keep results: verify what tables rest on, prune what nothing uses."""

from __future__ import annotations

import os
import sys
from dataclasses import astuple, fields
from pathlib import Path

import click

from fewframes.cli import options
from fewframes.core.files import write_csv


@click.command()
@options.config
@click.option("--mend", is_flag=True, help="Put broken pieces aside, so that snakemake makes them again.")
@click.option("--list", "listing", type=options.PATH, help="A CSV to write every finding to.")
@click.option("--workers", default=os.cpu_count(), show_default="all cores", help="Threads and processes that read.")
@options.repository
def verify(config: Path, mend: bool, listing: Path | None, workers: int, repository: Path) -> None:
    """Read again all that the tables of CONFIG rest on; exit code 0: whole, 1: not.

    Images, annotations, label files, manifests, models, scores and tables are held against what was recorded of them.
    """
    from fewframes.doctor.report import Finding
    from fewframes.keeping.mending import mend as put_right
    from fewframes.keeping.verifying import verify as look_over

    verified = look_over(config, repository, workers, to_mend=mend)
    click.echo(verified.report.text())
    if listing:
        write_csv(listing, [field.name for field in fields(Finding)], map(astuple, verified.report.rows))
    if mend:
        click.echo(put_right(verified))
    sys.exit(verified.report.exit_code)


@click.command()
@options.config
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--runs", is_flag=True, help="Also runs and manifests that the config no longer asks for.")
@click.option("--methods", is_flag=True, help="Also labels of methods that the config no longer names.")
@click.option("--anyway", is_flag=True, help="Even while somebody is at work on the results.")
@click.option("--list", "listing", type=options.PATH, help="A CSV to write every file and its size to.")
@options.repository
def prune(
    config: Path, dry_run: bool, runs: bool, methods: bool, anyway: bool, listing: Path | None, repository: Path
) -> None:
    """Remove what nothing uses any more from the results of CONFIG."""
    from fewframes.keeping.pruning import prune as clear
    from fewframes.keeping.pruning import summary

    found, results = clear(config, repository, runs=runs, methods=methods, dry=dry_run, anyway=anyway)
    if listing:
        write_csv(listing, ("kind", "path", "bytes"), map(astuple, found))
    click.echo(summary(found, results, dry_run))
