"""The doctor: everything that would break a run of many hours, found before it starts.

`examine` looks, group by group, at the config, what was unpacked, every file, every label, the clips, the weights and
the disk. It only reads.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fewframes.core.errors import UserError
from fewframes.doctor.archives import examine_archives
from fewframes.doctor.clips import examine_clips
from fewframes.doctor.corrections import examine_corrections
from fewframes.doctor.disk import examine_disk
from fewframes.doctor.files import examine_files
from fewframes.doctor.labels import examine_labels
from fewframes.doctor.report import FAULT, Finding, Group, Report, skipped
from fewframes.doctor.settings import examine_config, read_config
from fewframes.doctor.weights import Size, examine_weights

__all__ = ["Finding", "Report", "examine"]

T = TypeVar("T")

_DATA = ("Archives", "Files", "Labels", "Clips")


def examine(config: Path, repository: Path, workers: int = 0, deep: bool = False) -> Report:
    """Examine what the config at `config` asks for.

    `repository` is the folder with the workflow's `workflow/`, which has the schema and the catalogue of experiments;
    paths in the config are relative to the working directory, as in the workflow. `workers` processes read the
    files (0: one a core); `deep` decodes every frame of the clips that are used. What fails in one group does not keep
    the others from being examined. Raises `UserError` where the config cannot be read at all.
    """
    settings = read_config(config)
    first, case = examine_config(settings, repository, workers or len(os.sched_getaffinity(0)), deep)
    if case is None:
        generated = not first.findings
        why = "toy city is generated when the workflow runs" if generated else "mend the config first"
        return Report(f"fewframes doctor: {config}", [first, *(skipped(n, why) for n in (*_DATA, "Weights", "Disk"))])
    report = Report(f"fewframes doctor: {config}, {case.study.dataset} in {case.study.root}", [first])

    def safely(name: str, look: Callable[[], tuple[Group, T]], otherwise: T) -> T:
        group, result = _safely(name, look, otherwise)
        report.groups.append(group)
        return result

    safely("Archives", lambda: (examine_archives(case), None), None)
    no_ids: dict[str, tuple[int, ...]] = {}
    ids = safely("Files", lambda: examine_files(case), no_ids)
    if case.clips:
        safely("Labels", lambda: (examine_labels(case, ids), None), None)
        safely("Clips", lambda: (examine_clips(case), None), None)
    else:
        report.groups += [skipped(name, "no clip is known yet") for name in ("Labels", "Clips")]
    if case.study.corrections:
        safely("Reviewed", lambda: (examine_corrections(case), None), None)
    sizes: dict[str, Size] = {}
    sizes = safely("Weights", lambda: examine_weights(case), sizes)
    safely("Disk", lambda: (examine_disk(case, sizes), None), None)
    return report


def _safely(name: str, look: Callable[[], tuple[Group, T]], otherwise: T) -> tuple[Group, T]:
    """What `look` finds; a group with a fault, and `otherwise`, where it fails."""
    try:
        return look()
    except UserError as error:
        group = skipped(name, "it was refused")
        group.refused("what the workflow would refuse", name, error)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        group = skipped(name, "internal error, please report it")
        what = " ".join(f"{type(error).__name__}: {error}".split())
        mend = "Please report it, with the config and this line; the other groups are examined all the same."
        group.add(FAULT, "internal error", f"{Path(place.filename).name}, line {place.lineno}", mend, what)
    return group, otherwise
