"""Mending: broken pieces are put aside, so that the same `snakemake` command makes just these again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable
from fewframes.doctor.report import Group, plural
from fewframes.keeping.printed import inspect_tables
from fewframes.keeping.running import refuse_while_running
from fewframes.keeping.verifying import Verified, sound
from fewframes.learning.counted import read_counted
from fewframes.learning.evaluation import write_scores

PUT_ASIDE = "put-aside"
"""The folder, below a dataset's results, of what was broken; `prune` removes it."""


def mend(verified: Verified) -> str:
    """Put the broken files of the results aside and write scores anew; returns what was done and what to do next.

    A file goes to the same place below `put-aside`, in place of one put there before. Scores are written from
    confusion matrices that are whole, byte for byte as the evaluation wrote them. Files of the dataset and weights are
    left alone: nobody but their owner has others. What cannot be moved or written is named, and the rest is mended
    all the same. Raises `UserError` where somebody is at work on the results.
    """
    it = verified.inspection
    refuse_while_running(it.results)
    failed: list[str] = []
    rescored = [run for run in it.rescored if _done(run, failed, lambda run: _rescore(run, it.classes))]
    it.rescored[:] = [run for run in it.rescored if run not in rescored]
    if rescored:
        inspect_tables(it, sound(it), Group("Tables"))  # now that it can be told
    there = [file for file in it.broken if file.is_file() or file.is_symlink()]
    aside = [file for file in there if _done(file, failed, lambda file: _put_aside(file, it.results))]
    left = set(there).difference(aside)
    lines = []
    if aside:
        lines.append(f"{plural(len(aside), 'file')} put aside in {it.results / PUT_ASIDE}.")
    if models := sum(file.name == "model.safetensors" for file in it.broken if file not in left):
        lines.append(f"{plural(models, 'model')} must be trained again.")
    if rescored:
        lines.append(f"Scores of {plural(len(rescored), 'run')} written anew.")
    lines += failed
    if failed:
        lines.append("Free space or mend permissions there, and call `fewframes verify --mend` again before all else.")
    elif it.broken or rescored:
        lines.append(f"Now run your `snakemake` command again, such as: {_command(verified.config)}")
        lines.append("It makes just what is missing, and what rests on it; then verify again.")
    elif verified.report.exit_code:
        lines.append("Nothing of this can be mended from here: see the arrows above.")
    return "\n".join(lines) or "Nothing to mend."


def _done(what: Path, failed: list[str], work: Callable[[Path], None]) -> bool:
    """Do it, and return whether it could be done; if not, note why."""
    try:
        work(what)
    except (OSError, UserError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        failed.append(f"{what} cannot be mended: {why}")
        return False
    return True


def _rescore(run: Path, classes: ClassTable) -> None:
    write_scores(run, read_counted(run / "confusion.npz").totals, classes)


def _put_aside(file: Path, results: Path) -> None:
    target = results / PUT_ASIDE / file.relative_to(results)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A folder of the results may lie on another disk, where nothing can be renamed to here.
    shutil.move(file, target)


def _command(config: Path) -> str:
    named = "" if config == Path("config.yaml") else f" --configfile {config}"
    return f"snakemake --cores all{named}"
