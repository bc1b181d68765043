"""The commands of a round: what propagation left unlabelled filled, and the manifest of the filled labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fewframes.cli import options
from fewframes.core.clips import dataset_root


@click.command()
@options.path("--model", "The trained network that fills.")
@options.path("--manifest", "The samples whose propagated labels are filled.")
@options.settings
@options.root
@options.classes
@options.results
@options.path("--labels", "Folder of the filled labels' files, below the results.")
@options.out
@options.threads
@options.device
def fill(
    model: Path,
    manifest: Path,
    settings: dict[str, Any],
    root: Path,
    classes: str,
    results: Path,
    labels: Path,
    out: Path,
    threads: int,
    device: str,
) -> None:
    """Fill what propagated labels leave unlabelled with the predictions of a trained network."""
    from fewframes.core.labels import load_class_table
    from fewframes.learning import filling

    table, files = load_class_table(classes), dataset_root(root, results)
    filling.fill(model, manifest, files, results, table, labels, out, settings, device, threads or None)


@click.command()
@options.path("--manifest", "The samples with their labels as they were propagated.")
@options.path("--labels", "The CSV of the filled labels.")
@options.root
@options.results
@options.out
def filled_manifest(manifest: Path, labels: Path, root: Path, results: Path, out: Path) -> None:
    """Write a manifest again, with filled labels in the place of propagated ones."""
    from fewframes.core.files import ContentHashes
    from fewframes.experiments.manifests import write_filled

    hashes = ContentHashes(results / "hashes", f"manifests-{out.parent.name}-{out.stem}")
    write_filled(manifest, labels, out, dataset_root(root, results), hashes)
    hashes.save()
