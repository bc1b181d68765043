"""The commands that people call by hand to use what they have trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fewframes.cli import options


@click.command()
@click.argument("model", type=options.PATH)
@click.argument("clip", type=options.PATH)
@options.path("--out", "Folder to write to.")
@options.classes
@click.option("--settings", type=options.Settings(), default="{}", help="The config's `evaluation`: JSON, or a file.")
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
