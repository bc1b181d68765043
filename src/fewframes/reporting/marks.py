"""The mark of labels that mean nothing, on whatever is printed or drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.labelling.methods import RANDOM_WEIGHTS, made_at_random
from fewframes.reporting.statistics import Grid

MEANINGLESS = "Random weights: a network that was never trained made these labels, and they mean nothing."


def marked_note(grid: Grid, settings: Mapping[str, Any]) -> str:
    """What to print below a table or figure of runs: `settings["note"]`, and the mark where it is due.

    Raises `UserError` for runs on labels made with random weights, unless `settings["allow_random_weights"]`.
    """
    note = str(settings["note"])
    tainted = _experiment_on_random_labels(grid)
    if not tainted:
        return note
    if not settings["allow_random_weights"]:
        raise UserError(
            f"The experiment '{tainted}' is trained on labels made with random weights, which mean nothing: name "
            "weights in propagation.sam2.weights, or, for a test of the workflow, set allow_random_weights."
        )
    return f"{MEANINGLESS} {note}".rstrip()


def _experiment_on_random_labels(grid: Grid) -> str:
    for experiment in grid.experiments:
        for draw in grid.draws_of(experiment):
            manifest: Path = grid.results / "manifests" / experiment / f"draw{draw}.csv"
            # The paper's manifests have a million rows: where the folder is not even named, none is looked at.
            if not manifest.is_file() or RANDOM_WEIGHTS.encode() not in manifest.read_bytes():
                continue
            rows = read_csv(manifest, ("label",))
            # Folder by folder: a paper's grid has a million labels, in few of them.
            folders = {row["label"].rpartition("/")[0] for row in rows}
            if any(made_at_random(PurePath(folder, "label")) for folder in folders):
                return experiment
    return ""
