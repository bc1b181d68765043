"""The doctor: everything that would break a run of many hours, found before it starts.

`examine` looks, group by group, at the config, what was unpacked, every file, every label, the clips, the weights and
the disk. It only reads.
"""

from __future__ import annotations

import os
from pathlib import Path

from fewframes.doctor.archives import examine_archives
from fewframes.doctor.clips import examine_clips
from fewframes.doctor.disk import examine_disk
from fewframes.doctor.files import examine_files
from fewframes.doctor.labels import examine_labels
from fewframes.doctor.report import Finding, Group, Report, skipped
from fewframes.doctor.settings import examine_config, read_config
from fewframes.doctor.weights import Size, examine_weights

__all__ = ["Finding", "Report", "examine"]

_DATA = ("Archives", "Files", "Labels", "Clips")


def examine(config: Path, repository: Path, workers: int = 0) -> Report:
    """Examine what the config at `config` asks for.

    `repository` is the folder with the workflow's `workflow/`, which has the schema and the catalogue of experiments;
    paths in the config are relative to the working directory, as in the workflow. `workers` processes read the
    files (0: one a core). Raises `UserError` where the config cannot be read at all.
    """
    settings = read_config(config)
    first, case = examine_config(settings, repository, workers or len(os.sched_getaffinity(0)))
    if case is None:
        generated = not first.findings
        why = "toy city is generated when the workflow runs" if generated else "mend the config first"
        return Report(f"fewframes doctor: {config}", [first, *(skipped(n, why) for n in (*_DATA, "Weights", "Disk"))])
    groups = [first, examine_archives(case)]
    files, ids = examine_files(case)
    if case.clips:
        groups += [files, examine_labels(case, ids), examine_clips(case)]
    else:
        groups += [files, *(skipped(name, "no clip is known yet") for name in ("Labels", "Clips"))]
    weights, sizes = Group("Weights", "nothing is to be trained"), dict[str, Size]()
    if case.study.experiments:
        weights, sizes = examine_weights(settings["training"], len(case.source.classes.names))
    title = f"fewframes doctor: {config}, {case.study.dataset} in {case.study.root}"
    return Report(title, [*groups, weights, examine_disk(case, sizes)])
