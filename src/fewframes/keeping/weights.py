"""Weights: the files as they are now against the checksums that labels and trainings recorded."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fewframes.core.progress import progress
from fewframes.core.weights import registry
from fewframes.doctor.report import FAULT, WARNING, Group, plural
from fewframes.experiments.methods import STAGES
from fewframes.keeping.inspection import Inspection
from fewframes.keeping.labelfiles import Seen
from fewframes.keeping.trained import record
from fewframes.labelling.refinement import method_of

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEND = "Fetch or copy them again (`fewframes fetch`), or, if others were meant, run the same `snakemake` command."


def inspect_weights(it: Inspection, seen: Mapping[Path, Seen], runs: Iterable[Path], group: Group) -> None:
    """Read every file of weights that the config names, and hold it against what was recorded when it was used."""
    used: dict[Path, set[str]] = defaultdict(set)
    for file, found in seen.items():
        stage, method = file.relative_to(it.results).parts[:2]
        settings = found.provenance.get("settings", {})
        named = (
            it.case.config[STAGES[stage].block].get(method_of(method), {}).get("weights") if stage in STAGES else None
        )
        _use(it, used, named, settings.get("weights") if isinstance(settings, Mapping) else None)
    for run in runs:
        block: Mapping[str, Any] = it.case.config["training"].get(run.parts[-3], {})
        _use(it, used, block.get("network", {}).get("pretrained"), (record(run) or {}).get("pretrained"))
    for file, recorded in progress(used.items(), "weights", len(used)) if used else ():
        if not file.is_file():
            mend = "Nothing need be wrong: fetch or copy them to have them looked at."
            group.add(WARNING, "weights that are not at hand", str(file), mend)
            continue
        with file.open("rb") as content:
            now = hashlib.file_digest(content, "sha256").hexdigest()
        if recorded != {now}:
            group.add(FAULT, "weights that are not those that were used", str(file), _MEND, f"SHA-256 {now[:12]}...")
    group.summary = plural(len(used), "file") if used else "none in use"


def _use(it: Inspection, used: dict[Path, set[str]], named: Any, sha256: Any) -> None:
    """Note that the weights `named` in the config had this checksum when they were used."""
    if isinstance(named, str) and isinstance(sha256, str) and _SHA256.fullmatch(sha256):
        entry = registry().get(named)
        used[entry.at(it.study.methods.weights_folder) if entry else Path(named)].add(sha256)
