"""The corrections: that they are as they were imported, can be read, and still have their frames."""

from __future__ import annotations

from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.doctor.case import Case
from fewframes.doctor.report import FAULT, WARNING, Group, plural
from fewframes.labelling.correctionfolder import corrected_label, read_corrections


def examine_corrections(case: Case) -> Group:
    """Read every corrected label of `dataset.corrections`, which must be set."""
    group = Group("Reviewed", "dataset.corrections cannot be read")
    folder = Path(case.study.corrections)
    if not folder.is_dir():
        return group  # the config's group has said so
    try:
        corrections = read_corrections(folder)
    except UserError as error:
        group.refused("corrections that are not as they were imported", "dataset.corrections", error)
        return group
    clips = {clip.id: clip for clip in case.clips}
    for correction in corrections:
        try:
            corrected_label(folder, correction, case.source.classes)
        except UserError as error:
            mend = "Restore the label, import its package again, or delete its row from corrections.csv."
            group.add(FAULT, "corrected labels that cannot be used", correction.file, mend, str(error))
        clip = clips.get(correction.clip)
        if not case.undone and (clip is None or not clip.has(correction.offset)):
            mend = "Restore the frames, or go on: the labels are left out."
            group.add(WARNING, "corrected labels of frames that are not there", correction.file, mend)
    group.summary = f"{plural(len(corrections), 'corrected label')} in {folder}"
    return group
