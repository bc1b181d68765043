"""The commands that people call by hand: look a dataset over, take labels out, bring corrected ones in."""

from __future__ import annotations

import os
import sys
from dataclasses import astuple, fields
from pathlib import Path

import click

from fewframes.cli import options
from fewframes.core.clips import dataset_root
from fewframes.core.files import write_csv


@click.command()
@options.config
@click.option("--list", "listing", type=options.PATH, help="A CSV to write every finding to.")
@click.option("--workers", default=os.cpu_count(), show_default="all cores", help="Processes that read labels.")
@click.option("--deep", is_flag=True, help="Decode every frame of the clips that are used; takes long.")
@options.repository
def doctor(config: Path, listing: Path | None, workers: int, deep: bool, repository: Path) -> None:
    """Find what would break a long run of CONFIG; exit code 0: go on, 1: do not."""
    from fewframes.doctor import Finding, examine

    report = examine(config, repository, workers, deep)
    click.echo(report.text())
    if listing:
        write_csv(listing, [field.name for field in fields(Finding)], map(astuple, report.rows))
    sys.exit(report.exit_code)


@click.command()
@click.argument("name")
@click.option("--folder", type=options.PATH, default="weights", show_default=True, help="Where weights lie.")
@click.option("--sha256", default="", help="What the file must be, where the registry does not know it.")
def fetch(name: str, folder: Path, sha256: str) -> None:
    """Download the published weights NAME, resumed where it was cut, verified before they are put in place."""
    from fewframes.core.fetching import fetch as bring

    click.echo(bring(name, folder, sha256))


@click.command("train-compact")
@click.argument("model", type=click.Choice(["sam", "sam2"]))
@click.argument("folder", type=options.PATH)
@click.option(
    "--camvid", type=options.PATH, help="CamVid's folder, to learn from its photographs too (non-commercial)."
)
@click.option("--photographs", type=click.FloatRange(0, 1), help="Their share, 0.3 where --camvid is given alone.")
@click.option("--share", type=click.FloatRange(0, min_open=True), default=1.0, help="Of the iterations, for trials.")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="That share every batch.")
def train_compact(
    model: str, folder: Path, camvid: Path | None, photographs: float | None, share: float, processes: int
) -> None:
    """Train the compact SAM 2 or SAM that Fewframes ships, anew, in FOLDER; an interrupted training goes on.

    Hours on a processor. All clips are drawn as it goes; nothing need be downloaded.
    """
    from fewframes.labelling.compact.recipes import train_compact as train

    if photographs is None:
        photographs = 0.3 if camvid else 0.0
    click.echo(train(model, folder, share=share, processes=processes, camvid=camvid, photographs=photographs))


@click.command()
@click.argument("form")
@options.labels
@options.results
@options.root
@options.classes
@options.out
@click.option("--split", "splits", multiple=True, help="Only clips of this split (repeatable).")
@click.option("--offset", "offsets", type=int, multiple=True, help="Only labels at this offset (repeatable).")
@click.option("--clip", "clips", multiple=True, help="Only this clip (repeatable).")
def export(
    form: str,
    labels: Path,
    results: Path,
    root: Path,
    classes: str,
    out: Path,
    splits: tuple[str, ...],
    offsets: tuple[int, ...],
    clips: tuple[str, ...],
) -> None:
    """Write made labels as FORM.

    cityscapes: PNGs as Cityscapes has them; coco: COCO panoptic; cvat: a task to review in CVAT.
    """
    from fewframes.core.labels import load_class_table
    from fewframes.labelling.exporting.driver import export as write

    files, table = dataset_root(root, results), load_class_table(classes)
    write(form, labels, results, files, table, out, splits, offsets, clips)


@click.command(name="import")
@click.argument("package", type=options.PATH)
@options.path("--exported", "The folder that `fewframes export` wrote.")
@options.out
@options.classes
@click.option("--minutes", type=float, required=True, help="What the review of one frame took.")
@click.option("--by", required=True, help="Who reviewed.")
@click.option("--only-changed", is_flag=True, help="Leave out, unpaid, frames that came back as they went out.")
def import_(
    package: Path, exported: Path, out: Path, classes: str, minutes: float, by: str, only_changed: bool
) -> None:
    """Take the labels of PACKAGE, reviewed and corrected, as a new annotation source."""
    from fewframes.core.labels import load_class_table
    from fewframes.labelling.corrections import import_corrections

    import_corrections(package, exported, out, load_class_table(classes), minutes, by, not only_changed)
