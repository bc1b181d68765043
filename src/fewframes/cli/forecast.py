"""The command that says what a study will cost, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewframes.cli import options
from fewframes.core.errors import UserError

if TYPE_CHECKING:
    from fewframes.forecast.dataset import Assumed


@click.command()
@options.config
@click.option(
    "--assume",
    metavar="TRAIN,SCORED[,STILLS]",
    help="A dataset that is not there: whole clips, frames to score on, coarse stills; 2975,500,19998 is Cityscapes.",
)
@click.option(
    "--measured", type=options.PATH, multiple=True, help="A dataset's folder of results whose times count (repeatable)."
)
@click.option(
    "--gpus", type=click.IntRange(1), multiple=True, default=(1, 4, 16), show_default=True, help="GPUs (repeatable)."
)
@click.option("--places", type=click.IntRange(1), default=16, show_default=True, help="Jobs on processors at once.")
@options.repository
def plan(
    config: Path, assume: str | None, measured: tuple[Path, ...], gpus: tuple[int, ...], places: int, repository: Path
) -> None:
    """Say what CONFIG will take before anything runs: jobs, GPU-hours, disk, and days on 1, 4 and 16 GPUs."""
    from fewframes.forecast.text import forecast

    click.echo(forecast(config, repository, _assumed(assume), measured, gpus, places))


def _assumed(text: str | None) -> Assumed | None:
    from fewframes.forecast.dataset import Assumed

    if text is None:
        return None
    numbers: list[Any] = text.split(",")
    if len(numbers) not in (2, 3) or not all(n.strip().isdecimal() for n in numbers):
        raise UserError(
            f"--assume is '{text}': give clips to train on, frames to score on and stills, as 2975,500,19998."
        )
    return Assumed(*map(int, numbers))
