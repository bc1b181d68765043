"""What the decoded labels say: ids, valid pixels, classes."""

from __future__ import annotations

from collections.abc import Mapping

from fewframes.core.clips import Clip
from fewframes.core.labels import IGNORE
from fewframes.doctor.case import Case
from fewframes.doctor.files import shown
from fewframes.doctor.report import FAULT, WARNING, Group


def examine_labels(case: Case, ids: Mapping[str, tuple[int, ...]]) -> Group:
    """Hold the ids that each decoded label has against the class table."""
    group = Group("Labels")
    table = case.source.classes
    train_ids = {c.id: c.train_id for c in table.classes if c.id >= 0} | {IGNORE: IGNORE}
    for path, found in sorted(ids.items()):
        strange = [i for i in found if i not in train_ids]
        if strange:
            mend = "Correct the labels, or choose the class table that they were made with (dataset.classes)."
            group.add(FAULT, f"ids that '{table.name}' does not know", shown(path), mend, f"{strange}")
        elif all(train_ids[i] == IGNORE for i in found):
            mend = "They teach and test nothing: look at them, and take them out if they should not be."
            group.add(WARNING, "labels without a pixel that counts", shown(path), mend)
    counted = []
    for split, role in _roles(case).items():
        labels = [path for clip in case.finely(split) for path in _used(case, clip)]
        seen = {train_ids.get(i, IGNORE) for path in labels for i in ids.get(path, ())}
        missing = [name for train_id, name in enumerate(table.names) if train_id not in seen]
        if not labels:
            continue
        counted.append(f"{len(table.names) - len(missing)} of {len(table.names)} classes in '{split}'")
        if any(path not in ids for path in labels):
            counted[-1] += " (not all of its labels can be read)"
            continue  # what is missing may be there
        for name in missing:
            mend = f"Expect no score for them: {role}."
            group.add(WARNING, f"classes never seen in '{split}'", name, mend)
    group.summary = ", ".join(counted)
    return group


def _roles(case: Case) -> dict[str, str]:
    """The splits whose classes matter, and what a class that is missing there means."""
    if not case.study.experiments:
        return {}
    evaluated = {case.evaluated_split: "a class without a pixel there is left out of the mean"}
    return {case.train_split: "a class without a pixel there cannot be learnt"} | evaluated


def _used(case: Case, clip: Clip) -> list[str]:
    return [clip.fine, *([clip.coarse] if clip.coarse and case.trains_on_coarse(clip) else [])]
