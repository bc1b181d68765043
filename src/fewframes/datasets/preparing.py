"""Preparation: whatever a dataset does not ship in a form that can be read at once, made once and kept.

A reader lists tasks; each says what it reads, what it writes and all else it depends on. A ledger remembers what
was made from what, so that only what changed is made again, however the files' times have moved.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, canonical_json, digest, read_csv, write_csv
from fewframes.core.progress import progress, say
from fewframes.core.stages import VERSIONS

LEDGER = "prepared.csv"
"""The ledger's name in the folder of prepared files."""

_COLUMNS = ("task", "fingerprint", "facts")
_SAVE_SECONDS = 20.0
"""Between savings of the ledger: the work that a preparation can lose to kill -9."""
_CHUNK = 8
"""Tasks handed to a process at a time."""


@dataclass(frozen=True)
class Task:
    """One thing to prepare.

    `make(task, folder, prepared)`, a function of a module, reads `inputs` (relative to the dataset's folder, or
    absolute) below `folder`, writes `outputs` (relative) below `prepared`, and returns facts worth keeping, as plain
    data. `recipe` is what else the result depends on. `name` is unique among the dataset's tasks.
    """

    name: str
    make: Callable[[Task, Path, Path], Mapping[str, Any]]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)


class Ledger:
    """What was prepared, by task: its fingerprint and the facts found on the way."""

    def __init__(self, prepared: Path) -> None:
        self._path = prepared / LEDGER
        rows = read_csv(self._path, _COLUMNS) if self._path.is_file() else []
        self._rows = {row["task"]: (row["fingerprint"], row["facts"]) for row in rows}

    def facts(self, task: str) -> dict[str, Any]:
        """The facts a task returned; raises `UserError` where it has not been done."""
        if task not in self._rows:
            raise UserError(f"{task} is not prepared: run `snakemake --forcerun prepare plan`.")
        return json.loads(self._rows[task][1])

    def fingerprint(self, task: str) -> str:
        """The fingerprint a task was done under; empty where it has not been."""
        return self._rows.get(task, ("", ""))[0]

    def forget(self, tasks: Iterable[str]) -> None:
        """Forget tasks that are about to be done again: should that fail half-way, they are due whatever happens."""
        for task in tasks:
            self._rows.pop(task, None)

    def note(self, task: str, fingerprint: str, facts: Mapping[str, Any]) -> None:
        """Remember a task that is done."""
        self._rows[task] = (fingerprint, canonical_json(facts))

    def save(self, keep: Iterable[str] | None = None) -> None:
        """Write the ledger; with `keep`, of these tasks only."""
        names = self._rows if keep is None else self._rows.keys() & set(keep)
        write_csv(self._path, _COLUMNS, ([name, *self._rows[name]] for name in sorted(names)))


def prepare(tasks: Iterable[Task], folder: Path, prepared: Path, hashes: ContentHashes, workers: int = 1) -> None:
    """Do the tasks that are not done yet, in `workers` processes.

    Every task is tried. Raises `UserError` at the end where some found faults in the dataset; what they were
    is said line by line before.
    """
    listed = list(tasks)
    ledger = Ledger(prepared)
    due: list[tuple[Task, str]] = []
    faults: list[str] = []
    found = 0
    for task in progress(listed, "look for what must be prepared"):
        try:
            fingerprint = _fingerprint(task, folder, hashes)
        except UserError as error:
            faults.append(str(error))
            continue
        if ledger.fingerprint(task.name) != fingerprint or not all((prepared / o).exists() for o in task.outputs):
            due.append((task, fingerprint))
        else:
            found += 1
    hashes.save()
    known_by = {task.name: fingerprint for task, fingerprint in due}
    if due:
        ledger.forget(known_by)
        ledger.save()
    done, saved = 0, time.monotonic()
    results = _results([task for task, _ in due], folder, prepared, workers)
    try:
        for name, facts, fault in progress(results, "prepare", len(due)):
            if fault:
                faults.append(fault)
                continue
            ledger.note(name, known_by[name], facts)
            done += 1
            if time.monotonic() - saved > _SAVE_SECONDS:
                ledger.save()
                saved = time.monotonic()
    except BrokenProcessPool:
        raise UserError(
            "A process of the preparation was killed, as happens where memory runs out: run it again with fewer "
            "workers; what was finished is kept."
        ) from None
    finally:
        ledger.save(keep=(task.name for task in listed))
    for fault in faults:
        say(f"fault: {fault}")
    say(f"prepared {done}, found {found} as they were, {len(faults)} faulty.")
    if faults:
        raise UserError(
            f"{len(faults)} of {len(listed)} files to prepare are faulty, the first: {faults[0]} "
            "All are listed above; nothing finished is lost."
        )


def _fingerprint(task: Task, folder: Path, hashes: ContentHashes) -> str:
    contents = [hashes.of(folder / path) for path in task.inputs]
    what = f"{task.make.__module__}.{task.make.__qualname__}"
    return digest(VERSIONS["prepare"], what, task.recipe, task.outputs, contents)


def _results(
    tasks: list[Task], folder: Path, prepared: Path, workers: int
) -> Iterable[tuple[str, Mapping[str, Any], str]]:
    """What became of each task, chunk by chunk as they are finished; a killed process costs its own chunk."""
    if workers == 1 or len(tasks) < 2 * _CHUNK:
        yield from (_tried(task, folder, prepared) for task in tasks)
        return
    killed = None
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        chunks = [tasks[i : i + _CHUNK] for i in range(0, len(tasks), _CHUNK)]
        for chunk in as_completed([pool.submit(_all_tried, chunk, folder, prepared) for chunk in chunks]):
            try:
                yield from chunk.result()
            except BrokenProcessPool as error:
                killed = error  # but other chunks may have come in before
    if killed:
        raise killed


def _all_tried(tasks: list[Task], folder: Path, prepared: Path) -> list[tuple[str, Mapping[str, Any], str]]:
    return [_tried(task, folder, prepared) for task in tasks]


def _tried(task: Task, folder: Path, prepared: Path) -> tuple[str, Mapping[str, Any], str]:
    try:
        return task.name, task.make(task, folder, prepared), ""
    except UserError as error:
        return task.name, {}, str(error)
