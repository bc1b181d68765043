"""The examination as a whole: memory, corrections, depth, failing groups, and the command."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import yaml
from click.testing import CliRunner
from PIL import Image

import fewframes.doctor
from fewframes.cli.hands import doctor
from fewframes.core.clips import Root
from fewframes.core.files import content_hash
from fewframes.core.labels import load_class_table
from fewframes.doctor.files import Job, examine_job
from fewframes.labelling.correctionfolder import Correction, beside, keep, label_file, made_classes

ALONE = "frames to score without the earlier frames that a network reads"


def test_scoring_without_memory_is_a_fault_where_all_are_and_a_warning_where_some_are(patient):
    patient.file("leftImg8bit_sequence/val/*/*_000018_leftImg8bit.png").unlink()
    (row,) = [row for row in patient.examine().rows if row.what == ALONE]
    assert (row.group, row.severity, row.detail) == ("Clips", "warning", "no 1 frame before it")
    assert "the score of 1 of 3 is" in row.mend
    patient.config["training"]["tmanet"]["network"]["past_frames"] = 19
    patient.files("leftImg8bit_sequence/val/*/*_000000_leftImg8bit.png")[-1].unlink()
    patient.config["experiments"] = ["n1"]
    assert sum(row.what == ALONE for row in patient.examine().rows) == 2

    shutil.rmtree(patient.city / "leftImg8bit_sequence/val")
    rows = [row for row in patient.examine().rows if row.what == ALONE]
    assert len(rows) == 3 and {row.severity for row in rows} == {"fault"}
    patient.config["experiments"] = []
    assert ALONE not in {row.what for row in patient.examine().rows}


def correct(patient, clip="", ids=7):
    """Import a correction by hand; returns its file."""
    folder, table = patient.folder / "corrections", load_class_table("cityscapes")
    clip = clip or patient.file("leftImg8bit/train/ashford/*").name.removesuffix("_leftImg8bit.png")
    file = label_file(clip, 1, str(ids))
    with beside(folder) as aside:
        (aside / file).parent.mkdir()
        Image.fromarray(np.full((48, 96), ids, np.uint8)).save(aside / file)
        meaning = made_classes(table, aside)
        row = Correction(
            clip,
            1,
            "pseudo",
            "flow",
            "f",
            file,
            content_hash(aside / file),
            meaning,
            "i",
            5,
            "me",
            "t",
            "2026-01-01",
            1,
        )
        keep({clip: row}, aside, folder)
    patient.config["dataset"]["corrections"] = "corrections"
    return folder / file


def test_corrections_are_examined(patient):
    file = correct(patient)
    report = patient.examine()
    assert report.rows == [] and "1 corrected label in corrections" in report.text()

    correct(patient, "gone_000000_000019")
    (row,) = patient.examine().rows
    assert (row.group, row.severity, row.name) == ("Reviewed", "warning", "labels/gone_000000_000019_1-7.png")
    correct(patient, "gone_000000_000019", ids=99)
    assert [r.what for r in patient.examine().rows if r.severity == "fault"] == ["corrected labels that cannot be used"]

    file.write_bytes(file.read_bytes()[:-20])
    (row,) = patient.examine().rows
    assert (row.group, row.severity) == ("Reviewed", "fault")
    assert file.name in row.detail and "is not as it was imported" in row.detail and row.mend
    (patient.folder / "corrections/corrections.csv").unlink()
    (row,) = patient.examine().rows
    assert row.severity == "fault" and "has no corrections.csv" in row.detail


def test_a_group_that_fails_does_not_end_the_report(patient, monkeypatch):
    def fail(case, *_):
        return {1: 2}[8]

    for name in ("examine_files", "examine_clips"):
        monkeypatch.setattr(fewframes.doctor, name, fail)
    report = patient.examine()
    assert [(r.group, r.severity, r.what, r.detail) for r in report.rows] == [
        (group, "fault", "internal error", "KeyError: 8") for group in ("Files", "Clips")
    ]
    assert report.exit_code == 1 and "not examined: internal error, please report it" in report.text()
    assert [group.name for group in report.groups if group.examined] == [
        "Config",
        "Archives",
        "Labels",
        "Weights",
        "Disk",
    ]


def test_every_frame_is_decoded_when_asked(patient):
    frame = patient.file("leftImg8bit_sequence/train/ashford/*_000004_leftImg8bit.png")
    data = bytearray(frame.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    patient.put(frame, bytes(data))
    assert patient.examine().rows == []
    report = patient.examine(deep=True)
    assert [(r.group, r.what, Path(r.name).name) for r in report.rows] == [("Files", "damaged", frame.name)]
    # 9 clips of 30 frames, the key frames once more; the damaged one is not decoded.
    assert " and 270 frames decoded" in report.text()
    by_two = patient.examine(deep=True, workers=2)
    # What is free on the disk is other processes' doing.
    assert report.groups[:-1] == by_two.groups[:-1] and report.groups[-1].name == "Disk"


def test_zeroed_bytes_within_a_jpeg_are_found(tmp_path):
    pixels = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8), (0, 0), 2)
    data = bytearray(cv2.imencode(".jpg", pixels)[1].tobytes())
    (tmp_path / "a.jpeg").write_bytes(data)
    data[len(data) // 2 : len(data) // 2 + 512] = bytes(512)
    (tmp_path / "b.jpeg").write_bytes(data)
    job = Job(image="a.jpeg", frames=("b.jpeg",), deep=True)
    (flaw,) = examine_job(job, Root(tmp_path, tmp_path)).flaws
    assert flaw[:2] == ("damaged", "b.jpeg") and flaw[2]


def test_a_class_table_that_is_refused_says_why(patient):
    (patient.folder / "mine.yaml").write_text("classes: [{name: road, id: 7, train_id: 0, rgb: [1, 2]}]\nminutes: {}")
    patient.config["dataset"]["classes"] = "mine.yaml"
    (row,) = patient.examine().rows
    assert row.name == "dataset.classes" and row.mend.startswith("Correct the class table")
    assert row.detail.startswith("mine.yaml") and row.detail.endswith(".")


def test_the_command_finds_the_repository_it_was_installed_from(patient):
    patient.config["experiments"] = ["n1"]
    Path("own.yaml").write_text(yaml.safe_dump(patient.config))
    result = CliRunner().invoke(doctor, ["own.yaml", "--workers", "1", "--deep", "--list", "all.csv"])
    assert result.exit_code == 0, result.output
    assert "toy in city" in result.output and "frames decoded" in result.output and Path("all.csv").is_file()
    refused = CliRunner().invoke(doctor, ["own.yaml", "--repository", "city"])
    assert refused.exit_code != 0 and "city/workflow" in str(refused.exception)


def test_stills_that_are_scored_on_purpose_are_a_warning(patient):
    stem = np.zeros((48, 96), np.uint8)
    for n in range(10, 24, 2):
        patient.draw(patient.city / f"video/0016E5_{n:05d}.png", np.stack([stem + n] * 3, axis=-1))
        patient.draw(patient.city / f"videoannot/0016E5_{n:05d}.png", stem)
    patient.draw(patient.city / "test/0001TP_006690.png", np.stack([stem] * 3, axis=-1))
    patient.draw(patient.city / "testannot/0001TP_006690.png", stem)
    options = {"sequences": ["video"], "stills": {"test": "val"}}
    dataset = {"name": "toy", "root": "city", "reader": "camvid", "classes": "camvid", "options": options}
    patient.config |= {"dataset": dataset, "experiments": ["n1"], "quality": {}}
    report = patient.examine()
    assert [row.severity for row in report.rows if row.what == ALONE] == ["warning"]
    assert report.exit_code == 0
