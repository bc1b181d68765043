"""The commands that people call by hand to use what they have trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fewframes.cli import options
from fewframes.core.clips import dataset_root

_settings = click.option(
    "--settings", type=options.Settings(), default="{}", help="The config's `evaluation`: JSON, or a file."
)


@click.command()
@click.argument("model", type=options.PATH)
@click.argument("clip", type=options.PATH)
@options.path("--out", "Folder to write to.")
@options.classes
@_settings
@click.option("--overlay/--no-overlay", default=True, show_default=True, help="Write overlay.mp4 too.")
@click.option(
    "--fps",
    type=click.FloatRange(0, min_open=True),
    show_default="the video's own, or 17",
    help="Frames a second of overlay.mp4.",
)
@click.option("--native-ids/--train-ids", default=True, show_default=True, help="What the PNGs hold.")
@options.threads
@options.device
def predict(
    model: Path,
    clip: Path,
    out: Path,
    classes: str,
    settings: dict[str, Any],
    overlay: bool,
    fps: float | None,
    native_ids: bool,
    threads: int,
    device: str,
) -> None:
    """Have MODEL (a model.safetensors) label every frame of CLIP, a folder of pictures or a video."""
    from fewframes.core.labels import load_class_table
    from fewframes.learning.prediction import predict_clip

    predict_clip(
        model,
        clip,
        out,
        load_class_table(classes),
        settings,
        device=device,
        threads=threads or None,
        overlay=overlay,
        fps=fps,
        native_ids=native_ids,
    )


@click.command("export-predictions")
@click.argument("model", type=options.PATH)
@click.option("--form", required=True, help="cityscapes, idd or native.")
@options.path("--manifest", "What to predict: a study's manifests/evaluation.csv.")
@options.root
@options.results
@options.classes
@options.path("--out", "Folder to write to.")
@_settings
@click.option("--path", default=0, show_default=True, help="Of a network with several paths (TDNet), which.")
@options.threads
@options.device
def export_predictions(
    model: Path,
    form: str,
    manifest: Path,
    root: Path,
    results: Path,
    classes: str,
    out: Path,
    settings: dict[str, Any],
    path: int,
    threads: int,
    device: str,
) -> None:
    """Write what MODEL predicts of a study's evaluation frames as a benchmark's own evaluator reads it.

    cityscapes: label ids in one folder; idd: ids of level 3, by drive; native: the class table's ids, by image.
    """
    from fewframes.core.labels import load_class_table
    from fewframes.learning import official

    files, table = dataset_root(root, results), load_class_table(classes)
    official.export_predictions(
        model,
        form,
        manifest,
        files,
        results,
        table,
        out,
        settings,
        path=path,
        device=device,
        threads=threads or None,
    )
