"""What the decoded labels say: ids, valid pixels, classes."""

from __future__ import annotations

from collections.abc import Mapping

from fewframes.core.clips import Clip
from fewframes.core.labels import IGNORE
from fewframes.doctor.case import Case
from fewframes.doctor.files import shown
from fewframes.doctor.report import FAULT, WARNING, Group, plural

_BEYOND = 0.25
"""The share of evaluated classes whose native id no train id can be, from which the two kinds can be told apart."""
_MOST = 0.5
"""More than this share of a split's labels must look like train ids: one may well show few classes."""


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
    mistaken = _look_like_train_ids(case, ids, group)
    counted = []
    for split, role in _roles(case).items():
        labels = [path for clip in case.finely(split) for path in _used(case, clip)]
        seen = {train_ids.get(i, IGNORE) for path in labels for i in ids.get(path, ())}
        missing = [name for train_id, name in enumerate(table.names) if train_id not in seen]
        if not labels:
            continue
        counted.append(f"{len(table.names) - len(missing)} of {plural(len(table.names), 'class')} in '{split}'")
        if any(path not in ids for path in labels):
            counted[-1] += " (not all of its labels can be read)"
            continue  # what is missing may be there
        for name in missing if split not in mistaken else ():
            mend = f"Expect no score for them: {role}."
            group.add(WARNING, f"classes never seen in '{split}'", name, mend)
    group.summary = ", ".join(counted)
    return group


def _look_like_train_ids(case: Case, ids: Mapping[str, tuple[int, ...]], group: Group) -> set[str]:
    """Note the splits most of whose labels hold nothing but numbers that train ids can be; returns them."""
    table = case.source.classes
    count = len(table.names)
    if sum(c.id >= count for c in table.trained) < _BEYOND * count:
        return set()
    mistaken = set()
    for split in sorted({clip.split for clip in case.clips}):
        decoded = [path for clip in case.finely(split) for path in _used(case, clip) if path in ids]
        alike = [path for path in decoded if all(i < count or i == IGNORE for i in ids[path]) and any(ids[path])]
        if decoded and len(alike) > _MOST * len(decoded):
            mistaken.add(split)
            mend = (
                f"Point to the labels of native ids (such as labelIds.png), which '{table.name}' is for; "
                "where these are right, go on."
            )
            detail = f"{len(alike):,} of {plural(len(decoded), 'label')} hold no other id than 0 to {count - 1} and 255"
            group.add(WARNING, "labels that look like train ids", f"'{split}', such as {shown(alike[0])}", mend, detail)
    return mistaken


def _roles(case: Case) -> dict[str, str]:
    """The splits whose classes matter, and what a class that is missing there means."""
    if not case.study.experiments:
        return {}
    evaluated = {case.evaluated_split: "a class without a pixel there is left out of the mean"}
    return {case.train_split: "a class without a pixel there cannot be learnt"} | evaluated


def _used(case: Case, clip: Clip) -> list[str]:
    return [clip.fine, *([clip.coarse] if clip.coarse and case.trains_on_coarse(clip) else [])]
