"""What was unpacked, what the reader leaves out, and whether the mends that are named fit."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from fewframes.core.files import ContentHashes
from fewframes.core.labels import load_class_table
from fewframes.datasets import prepare_dataset
from fewframes.datasets.source import Source
from fewframes.datasets.toycity import ToyCitySettings, write_toycity
from fewframes.doctor.leftout import mend_of

ABSENT = "absent, though the folder has other splits"


def of(report, group, severity=""):
    return [row for row in report.rows if row.group == group and severity in ("", row.severity)]


@pytest.mark.parametrize("folder", ["gtCoarse/train", "gtFine/val", "leftImg8bit_sequence/val", "leftImg8bit/train"])
def test_a_split_that_is_absent_is_named(patient, folder):
    shutil.rmtree(patient.city / folder)
    report = patient.examine()
    assert [row.name for row in of(report, "Archives") if row.what == ABSENT] == [folder]


def test_a_split_that_no_kind_has_is_not_asked_for(patient):
    for path in patient.city.glob("*/val"):
        shutil.rmtree(path)
    assert ABSENT not in {row.what for row in patient.examine().rows}


def test_a_coarse_city_that_is_absent_is_named(patient):
    patient.config["experiments"] = ["n1", "b3"]
    shutil.rmtree(patient.city / "gtCoarse/train/brookham")
    (row,) = patient.examine().rows
    assert (row.what, row.name) == ("absent or empty beside full sibling folders", "gtCoarse/train/brookham")


def test_sequences_one_level_too_deep_are_found_and_their_folder_is_the_mend(patient):
    (patient.city / "leftImg8bit_sequence").rename(patient.city / "aside")
    (patient.city / "leftImg8bit_sequence").mkdir()
    (patient.city / "aside").rename(patient.city / "leftImg8bit_sequence/leftImg8bit_sequence")
    report = patient.examine()
    deep = [row.name for row in report.rows if row.what == "folders within a folder of their own name"]
    assert deep == ["leftImg8bit_sequence/leftImg8bit_sequence"]
    (fault,) = of(report, "Archives", "fault")
    assert fault.what == "no frame to measure beside any annotated one"
    assert "leftImg8bit_sequence" in fault.mend and "dataset.truth" not in report.text()
    mends = {row.what: row.mend for row in report.rows}
    assert "leftImg8bit_sequence" in mends["left out: annotated frames without a sequence"]


def test_a_second_copy_is_named_once_and_only_beside_its_original(patient):
    frame = patient.file("leftImg8bit_sequence/train/ashford/*_000003_leftImg8bit.png")
    label = patient.file("gtFine/train/ashford/*_labelIds.png")
    for path in (frame, label):
        patient.put(path.with_name(f"{path.stem} (1).png"), path.read_bytes())
    patient.put(patient.city / "notes 2.txt", b"the first are lost")
    rows = patient.examine().rows
    assert [row.name for row in rows if row.what.startswith("second copies")] == [
        str((frame.parent / f"{frame.stem} (1).png").relative_to(patient.city))
    ]
    assert sum(f"{label.stem} (1).png" in row.name for row in rows) == 1


def video(patient, rows):
    """A user's own pictures, with a CSV of these rows below `clip,split,key,frames,fine`."""
    rng = np.random.default_rng(0)
    for number in range(6):
        patient.draw(patient.folder / f"own/frames/{number:03d}.png", rng.integers(0, 256, (48, 96, 3), np.uint8))
    patient.draw(patient.folder / "own/labels/a.png", (np.arange(48 * 96).reshape(48, 96) % 2).astype(np.uint8))
    (patient.folder / "own/clips.csv").write_text("\n".join(["clip,split,key,frames,fine", *rows]))
    classes = [{"name": name, "id": id_, "train_id": id_, "rgb": [id_] * 3} for id_, name in enumerate("ab")]
    table = {"minutes": {"fine": 1}, "offsets": [-3, 2], "classes": classes}
    (patient.folder / "own/classes.yaml").write_text(yaml.safe_dump(table))
    dataset = {"name": "own", "root": "own", "reader": "video", "classes": "own/classes.yaml"}
    patient.config = {"dataset": dataset, "experiments": ["n1"], "training": patient.config["training"]}


def prepared(patient):
    dataset = patient.config["dataset"]
    folder = Path("results") / dataset["name"] / "prepared"
    source = Source(Path(dataset["root"]), folder, load_class_table(dataset["classes"]))
    prepare_dataset(dataset["reader"], source, ContentHashes(folder.parent / "hashes", "prepare"))


def test_every_faulty_row_of_an_own_csv_is_a_finding_once(patient, capsys):
    video(
        patient,
        ["a,train,003.png,frames,labels/a.png", "b,train,9.png,frames,labels/a.png", ",x,000.png,frames,no.png"],
    )
    capsys.readouterr()
    rows = patient.examine().rows
    assert [(row.group, row.what, row.name) for row in rows] == [
        ("Archives", "rows that cannot be used", f"own/clips.csv, line {line}") for line in (3, 4)
    ]
    assert "no file of 'frames'" in rows[0].detail and "the clip id ''" in rows[1].detail
    assert len({row.mend for row in rows}) == 1 and "fault" not in capsys.readouterr().err


def test_a_study_that_only_wants_labels_is_not_stopped_for_want_of_a_split_to_score(patient):
    video(patient, ["a,train,003.png,frames,labels/a.png"])
    prepared(patient)
    report = patient.examine()
    (row,) = report.rows
    assert (row.severity, row.what, row.name) == ("warning", "nothing that a trained network can be scored on", "val")
    assert report.exit_code == 0
    assert "1 finely annotated frame," in report.text() and "1 training, " in report.text()
    assert not re.search(r"\b1 (clip|training|label|file|experiment|method|key frame|training clip)s\b", report.text())
    patient.config["evaluation"] = {"split": "val"}  # asked for by name
    (row,) = patient.examine().rows
    assert (row.severity, row.what) == ("fault", "splits without a finely annotated frame")
    patient.config |= {"experiments": [], "evaluation": {}}
    assert patient.examine().rows == []


def test_what_idd_leaves_out_has_a_fitting_mend(patient):
    write_toycity("idd", ToyCitySettings(train=2, val=1, train_extra=0, height=48, width=96, layout="idd"))
    patient.config |= {"dataset": {"name": "toy", "root": "idd", "reader": "idd", "classes": "idd"}, "quality": {}}
    patient.config["experiments"] = ["n1"]
    annotation = min(Path("idd").glob("gtFine/train/*/*.json"))
    annotation.write_text(annotation.read_text().replace('"road"', '"raod"', 1))
    prepared(patient)
    (row,) = [row for row in patient.examine().rows if "unknown label" in row.what]
    assert "'idd' knows road" in row.mend and "add the class" in row.mend
    patient.config["dataset"]["options"] = {"size": [1080, 1920]}
    faults = [row for row in patient.examine().rows if row.severity == "fault"]
    assert [f.name for f in faults] == ["train", "val"]
    assert {f.what for f in faults} == {"splits without a finely annotated frame"}
    assert all("dataset.options.size" in f.mend and "Unpack" not in f.mend for f in faults)


def test_reasons_without_a_mend_of_their_own_have_the_common_one():
    classes = load_class_table("cityscapes")
    assert mend_of("something new", classes) == "They are not used; where they should be, restore what they lack."
    assert "no gap" in mend_of("frames beyond a gap in the sequence, where the clip is cut", classes)
    assert "knows road, sidewalk" not in mend_of("polygon: unknown label 'roda'", classes)
    assert "unlabeled, ego vehicle" in mend_of("polygon: unknown label 'xyzzy'", classes)


def test_labels_that_hold_train_ids_are_told(patient):
    table = load_class_table("cityscapes")
    for path in patient.files("gt*/train/*/*_labelIds.png"):
        native = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        patient.draw(path, table.to_train_ids(native, path))
    rows = of(patient.examine(), "Labels")
    (row,) = [row for row in rows if row.what == "labels that look like train ids"]
    assert row.severity == "warning" and row.name.startswith("'train', such as gtFine/train/")
    assert row.detail == "12 of 12 labels hold no other id than 0 to 18 and 255"
    assert "classes never seen in 'train'" not in {row.what for row in rows}
