"""A clean dataset has nothing; every fault planted in it is found, in its group and by its name, and no other."""

from __future__ import annotations

import hashlib
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.core.labels import load_class_table
from fewframes.datasets import prepare_dataset
from fewframes.datasets.source import Source
from fewframes.datasets.toycity import ToyCitySettings, write_toycity
from fewframes.doctor import examine

FRAMES = "leftImg8bit_sequence/train/ashford/*_{:06d}_leftImg8bit.png"
FINE = "gtFine/train/ashford/*_gtFine_labelIds.png"
PLANTS: dict[str, tuple[Callable, str, str, str]] = {}
"""By name: the function that plants (and returns the name to find), the group, severity and words."""


def plant(group: str, severity: str, what: str):
    def note(function):
        PLANTS[function.__name__] = (function, group, severity, what)
        return function

    return note


def label(patient, pattern=FINE):
    path = patient.file(pattern)
    return path, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


# --- Config ---


@plant("Config", "fault", "unknown experiments")
def unknown_experiment(patient):
    patient.config["experiments"] += ["b33"]
    return "b33"


@plant("Config", "fault", "unknown methods")
def unknown_method(patient):
    patient.config["quality"]["methods"] += ["sam9"]
    return "quality.methods"


@plant("Config", "fault", "folders that do not exist")
def absent_corrections(patient):
    patient.config["dataset"]["corrections"] = "nowhere"
    return "dataset.corrections"


# --- Archives ---


@plant("Archives", "warning", "absent or empty beside full sibling folders")
def absent_stills(patient):
    shutil.rmtree(patient.city / "leftImg8bit/train/brookham")
    return "leftImg8bit/train/brookham"


@plant("Archives", "warning", "folders within a folder of their own name")
def folder_within_itself(patient):
    patient.put(patient.city / "gtFine/gtFine/train/more.txt", b"1")
    return "gtFine/gtFine"


@plant("Archives", "warning", "second copies by their names")
def second_copy_of_a_split(patient):
    shutil.copytree(patient.city / "gtFine/val", patient.city / "gtFine/val (1)")
    return "gtFine/val (1)"


@plant("Archives", "warning", "left out: image without annotation")
def image_without_annotation(patient):
    path = patient.files("leftImg8bit/train/brookham/*.png")[-1]
    stem = path.name.removesuffix("_leftImg8bit.png")
    for file in patient.files(f"gt*/train/brookham/{stem}_*"):
        file.unlink()
    return path.name


@plant("Archives", "warning", "left out: annotation without image")
def annotation_without_image(patient):
    path = patient.files("leftImg8bit/train/ashford/*.png")[-1]
    for file in patient.files(f"leftImg8bit*/train/ashford/{path.name}"):
        file.unlink()
    return path.name.removesuffix("_leftImg8bit.png")


@plant("Archives", "fault", "unpacked in part")
def archive_unpacked_in_part(patient):
    with zipfile.ZipFile(patient.city / "gtFine.zip", "w") as archive:
        for path in patient.files("gtFine/*/*/*_polygons.json"):
            archive.writestr(str(path.relative_to(patient.city)), "")
    patient.file("gtFine/val/eastmoor/*_polygons.json").unlink()
    return "gtFine/val/eastmoor"


@plant("Archives", "warning", "damaged archives")
def damaged_archive(patient):
    return patient.put(patient.city / "gtCoarse.zip", b"PK\3\4 and no more")


@plant("Archives", "warning", "unfinished downloads")
def unfinished_download(patient):
    return patient.put(patient.city / "leftImg8bit.zip.part", b"PK")


@plant("Archives", "fault", "no dense truth for any frame to measure")
def empty_truth(patient):
    (patient.folder / "empty").mkdir()
    patient.config["dataset"]["truth"] = "empty"
    return "empty"


@plant("Archives", "fault", "splits without a finely annotated frame")
def empty_split(patient):
    patient.config["evaluation"] = {"split": "tset"}
    return "tset"


# --- Files ---


@plant("Files", "fault", "no images")
def error_page(patient):
    return patient.put(patient.file(FRAMES.format(18)), b"<html><body>Please log in</body></html>")


@plant("Files", "fault", "cut short")
def truncated_frame(patient):
    path = patient.file(FRAMES.format(17))
    return patient.put(path, path.read_bytes()[:-100])


@plant("Files", "fault", "empty, of zero bytes")
def empty_label(patient):
    return patient.put(patient.files("gtFine/train/ashford/*_labelIds.png")[0], b"")


@plant("Files", "fault", "empty, of zero bytes")
def empty_coarse_extra(patient):
    return patient.put(patient.file("gtCoarse/train_extra/*/*_labelIds.png"), b"")


@plant("Files", "fault", "damaged")
def damaged_label(patient):
    path = patient.file("gtFine/val/eastmoor/*_labelIds.png")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    return patient.put(path, bytes(content))


@plant("Files", "fault", "damaged")
def damaged_instances(patient):
    path = patient.file("gtFine/train/cedarby/*_instanceIds.png")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    return patient.put(path, bytes(content))


@plant("Files", "fault", "images of more than 8 bits a channel")
def deep_frame(patient):
    return patient.draw(patient.file(FRAMES.format(20)), np.zeros((48, 96, 3), np.uint16))


@plant("Files", "fault", "labels that are no map of ids")
def colour_label(patient):
    path, picture = label(patient, "gtCoarse/train/cedarby/*_labelIds.png")
    return patient.draw(path, np.dstack([picture] * 3))


@plant("Files", "fault", "animated")
def animated_frame(patient):
    path = patient.file(FRAMES.format(21))
    path.unlink()
    pictures = [Image.new("RGB", (96, 48), colour) for colour in ("red", "blue")]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], default_image=False)
    return path.name


@plant("Files", "fault", "of more than 67,108,864 pixels")
def decompression_bomb(patient):
    path = patient.file(FRAMES.format(22))
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 60000, 60000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return patient.put(path, bytes(content))


@plant("Files", "fault", "of another size than their key frame")
def label_of_another_size(patient):
    path, picture = label(patient, "gtFine/train/brookham/*_labelIds.png")
    return patient.draw(path, np.repeat(picture, 2, 1))


@plant("Files", "warning", "frames missing between others")
def missing_middle_frame(patient):
    path = patient.file(FRAMES.format(5))
    path.unlink()
    return path.name


@plant("Files", "fault", "links that lead nowhere")
def dead_link(patient):
    path = patient.file("leftImg8bit_sequence/train/brookham/*_000010_leftImg8bit.png")
    path.unlink()
    path.symlink_to("elsewhere.png")
    return path.name


@plant("Files", "warning", "links that lead nowhere, in no use")
def idle_dead_link(patient):
    (patient.city / "readme").symlink_to("elsewhere")
    return "readme"


@plant("Files", "warning", "links to a folder above themselves")
def link_loop(patient):
    (patient.city / "gtFine" / "again").symlink_to("..")
    return "gtFine/again"


# --- Labels ---


@plant("Labels", "fault", "ids that 'cityscapes' does not know")
def strange_id(patient):
    path, picture = label(patient, "gtFine/train/longbridge/*_labelIds.png")
    picture[0, 0] = 99
    return patient.draw(path, picture)


@plant("Labels", "warning", "labels without a pixel that counts")
def void_label(patient):
    path, picture = label(patient, "gtCoarse/train/longbridge/*_labelIds.png")
    return patient.draw(path, np.zeros_like(picture))


@plant("Labels", "warning", "classes never seen in 'val'")
def class_never_seen(patient):
    for path in patient.files("gtFine/val/*/*_labelIds.png"):
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is not None:  # spoilt before
            patient.draw(path, np.where(picture == 23, np.uint8(0), picture))
    return "sky"


# --- Clips ---


@plant("Clips", "warning", "clips that do not reach from -19 to +10")
def missing_first_frame(patient):
    path = patient.file(FRAMES.format(0))
    path.unlink()
    return path.name.replace("_000000_leftImg8bit.png", "_000019")


@plant("Clips", "warning", "clips that do not reach from -19 to +10")
def missing_last_frame_of_val(patient):
    path = patient.file("leftImg8bit_sequence/val/eastmoor/*_000029_leftImg8bit.png")
    path.unlink()
    return path.name.replace("_000029_leftImg8bit.png", "_000019")


@plant("Clips", "fault", "key frames that are not the frame of their number")
def swapped_key_frame(patient):
    one, other = patient.file("leftImg8bit/train/ashford/*"), patient.file("leftImg8bit/val/eastmoor/*")
    patient.put(one, other.read_bytes())
    return one.name.removesuffix("_leftImg8bit.png")


@plant("Clips", "fault", "key frames that are not the frame of their number")
def key_frame_one_too_late(patient):
    still = patient.file("leftImg8bit/train/brookham/*")
    late = patient.file(f"leftImg8bit_sequence/train/brookham/{still.name.replace('_000019_', '_000020_')}")
    patient.put(still, late.read_bytes())
    return still.name.removesuffix("_leftImg8bit.png")


@plant("Clips", "fault", "ids that two clips share")
def duplicate_ids(patient):
    stem = patient.file("leftImg8bit/train/ashford/*").name.removesuffix("_000019_leftImg8bit.png")
    for path in patient.files(f"*/train/ashford/{stem}_*"):
        copy = Path(str(path).replace("/train/", "/val/"))
        patient.put(copy, path.read_bytes())
    return stem


# --- Weights ---


def network(patient):
    return patient.config["training"]["tmanet"]["network"]


@plant("Weights", "fault", "weights that are absent")
def absent_weights(patient):
    network(patient)["pretrained"] = "weights.pt"
    return "weights.pt"


@plant("Weights", "fault", "weights of a wrong checksum")
def wrong_checksum(patient):
    network(patient)["pretrained"] = "weights.pt"
    patient.config["training"]["tmanet"]["pretrained_sha256"] = "ab" * 32
    return patient.put(patient.folder / "weights.pt", b"other weights")


@plant("Weights", "fault", "weights that do not fit")
def unreadable_weights(patient):
    content = b"no weights"
    network(patient)["pretrained"] = "a.safetensors"
    patient.config["training"]["tmanet"]["pretrained_sha256"] = hashlib.sha256(content).hexdigest()
    return patient.put(patient.folder / "a.safetensors", content)


@plant("Weights", "fault", "checksums of no weights")
def checksum_of_nothing(patient):
    patient.config["training"]["tmanet"]["pretrained_sha256"] = "ab" * 32
    return "training.tmanet.pretrained_sha256"


@plant("Weights", "fault", "networks that cannot be built")
def unknown_backbone(patient):
    network(patient)["backbone"] = "resnet1"
    return "training.tmanet.network"


def test_a_clean_dataset_has_nothing(patient):
    report = patient.examine()
    assert report.rows == [] and report.exit_code == 0
    assert "Go on: nothing found." in report.text()
    assert [line[:2] for line in report.text().splitlines() if line[:1] in "✓!✗·" and line[:1]] == ["✓ "] * 7


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found_and_nothing_else(patient, name):
    spoil, group, severity, what = PLANTS[name]
    named = spoil(patient)
    report = patient.examine()
    rows = [row for row in report.rows if (row.group, row.severity, row.what) == (group, severity, what)]
    assert len(rows) == 1 and named in rows[0].name and rows[0].mend.endswith((".", "null", "16, 32"))
    assert report.rows == rows
    assert report.exit_code == (severity == "fault")
    assert max(map(len, report.text().splitlines())) <= 100


def test_all_faults_at_once_are_all_found(patient):
    # A city that is gone hides what is wrong in it; what changes the same file or key goes one by one.
    alone = ("empty_split", "empty_truth", "absent_weights", "wrong_checksum", "unreadable_weights", "duplicate_ids")
    alone += ("checksum_of_nothing",)
    missing = {name: spoil(patient) for name, (spoil, *_) in PLANTS.items() if name not in (*alone, *HIDING)}
    report = patient.examine()
    found = {(row.group, row.severity, row.what) for row in report.rows}
    assert {name for name in missing if PLANTS[name][1:] not in found} == set()
    assert report.exit_code == 1 and max(map(len, report.text().splitlines())) <= 100
    # But for the last group, the disk: what is free on it is other processes' doing.
    assert report.groups[:-1] == patient.examine(workers=2).groups[:-1]


HIDING = ("absent_stills", "damaged_label", "swapped_key_frame")


def test_half_a_city_of_frames_is_a_fault_and_costs_experiments_clips(patient):
    for path in patient.files("leftImg8bit_sequence/train/ashford/*")[8:]:
        path.unlink()
    report = patient.examine()
    archives, *lost = report.rows
    assert archives.severity == "fault" and archives.what == "far fewer files than in the sibling folders"
    assert (archives.name, archives.detail) == ("leftImg8bit_sequence/train/ashford", "8 of about 60 files")
    lost = [row for row in lost if not row.what.startswith("left out: ")]  # as the reader says of each clip
    assert {(r.group, r.severity, r.what) for r in lost} == {
        ("Clips", "warning", "clips that cannot serve every chosen experiment")
    }
    assert len(lost) == 2 and "because of: n1 (2), b3 (2), coarse-50 (2)" in lost[0].mend
    assert "4 of 6 training clips can serve every chosen experiment" in report.text()


def test_without_a_clip_that_serves_it_is_a_fault(patient):
    shutil.rmtree(patient.city / "leftImg8bit_sequence/train")
    patient.config["quality"] = {}
    report = patient.examine()
    faults = [row for row in report.rows if row.severity == "fault"]
    assert {(r.group, r.detail) for r in faults} == {("Clips", "no frame at offset -10")}
    assert len(faults) == 6 and "and 3 more" in report.text()
    assert ("absent, though the folder has other splits", "leftImg8bit_sequence/train") in {
        (row.what, row.name) for row in report.rows
    }


@pytest.mark.parametrize(("free", "severity"), [(10**5, "fault"), (40 * 10**6, "warning"), (10**12, "")])
def test_disk(patient, monkeypatch, free, severity):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2 * free, free, free))
    report = patient.examine()
    assert [(r.group, r.severity, r.name) for r in report.rows] == [("Disk", severity, "results/toy")][: bool(severity)]
    planned = report.text().partition("Disk")[2]
    assert "pseudo flow" in planned and "refined grabcut" in planned and "4 trainings" in planned


def test_labels_to_draw_are_not_missed_before_they_are_prepared(patient):
    patient.config["dataset"]["options"] = {"labels": "polygons"}
    patient.put(patient.file("gtFine/train/ashford/*_polygons.json"), b"{")
    report = patient.examine()
    assert {(r.group, r.severity, r.what) for r in report.rows} == {
        ("Archives", "warning", "not prepared yet"),
        ("Files", "fault", "damaged"),
    }
    assert "run `snakemake" in report.text().lower() and "prepared " in report.text()


def test_idd_is_examined_as_far_as_it_can_be_before_and_wholly_after_it_is_prepared(patient):
    write_toycity("idd", ToyCitySettings(train=2, val=1, train_extra=0, height=48, width=96, layout="idd"))
    patient.config |= {"dataset": {"name": "toy", "root": "idd", "reader": "idd", "classes": "idd"}, "quality": {}}
    patient.config["experiments"] = ["n1", "b3"]
    frame = sorted(Path("idd").glob("idd_temporal*/*/*/*.jpeg"))[3]
    whole = frame.read_bytes()
    named = patient.put(frame, whole[:200])
    report = patient.examine()
    assert {r.what for r in report.rows if r.group == "Archives"} == {"not prepared yet"}
    (cut,) = [r for r in report.rows if r.group != "Archives"]
    assert (cut.what, Path(cut.name).name) == ("cut short", named)
    assert "Labels    not examined" in report.text() and "labels: how many" in report.text()

    patient.put(frame, whole)
    source = Source(Path("idd"), Path("results/toy/prepared"), load_class_table("idd"))
    prepare_dataset("idd", source, ContentHashes("results/toy/hashes", "prepare"))
    report = patient.examine()
    assert {r.what.partition(" in ")[0] for r in report.rows} == {"classes never seen"}
    assert "2 of 2 training clips can serve" in report.text() and "3 key frames compared" in report.text()
    patient.put(min(Path("results/toy/prepared").rglob("*.png")), b"")
    assert [r.what for r in patient.examine().rows if r.severity == "fault"] == ["empty, of zero bytes"]


def test_a_folder_of_another_layout_is_a_fault(patient):
    for path in sorted(patient.city.iterdir()):
        path.rename(path.with_name(f"my-{path.name}"))
    report = patient.examine()
    assert [(r.group, r.name) for r in report.rows] == [("Archives", "city")]
    assert "Clips     not examined: no clip is known yet" in report.text()


def test_toy_city_need_not_be_there_before_it_is_generated(patient):
    shutil.rmtree(patient.city)
    patient.config["toycity"] = {"train": 2}
    report = patient.examine()
    assert report.exit_code == 0 and report.rows == []
    assert "Not examined: Archives, Files, Labels, Clips, Weights, Disk." in report.text()


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"shards": "four"}, "shards", "'four' is not of type 'integer'"),
        ({"colour": 1}, "top level", "'colour' was unexpected"),
        ({"dataset": {"name": "toy", "root": "nowhere"}}, "config", "The dataset folder nowhere does not exist"),
        ({"dataset": {"name": "toy", "root": "city", "classes": "mine"}}, "dataset.classes", "no class table 'mine'"),
        ({"dataset": {"name": "toy", "root": "city", "options": {"a": 1}}}, "dataset.options", "dataset.options.a"),
        ({"results": "config.yaml"}, "config", "Results cannot be written to config.yaml/toy"),
        ({"training": {}}, "config", "names no network"),
    ],
)
def test_a_config_that_the_workflow_would_refuse(patient, change, name, words):
    patient.config |= change
    report = patient.examine()
    faults = [row for row in report.rows if row.severity == "fault"]
    assert [(f.group, f.name) for f in faults] == [("Config", name)]
    assert words in faults[0].detail and faults[0].mend
    assert report.exit_code == 1 and "not examined: mend the config first" in report.text()


def test_methods_without_truth_are_a_warning(patient):
    del patient.config["dataset"]["truth"]
    report = patient.examine()
    assert [(r.group, r.severity, r.name) for r in report.rows] == [("Config", "warning", "quality.methods")]
    assert report.exit_code == 0 and "Go on, with 1 warning." in report.text()


def test_a_config_that_cannot_be_read_stops_the_doctor(tmp_path):
    for name, content, fault in (("a", "x: [", "is no readable YAML"), ("b", "- 1", "holds no keys")):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=f"{name} {fault}"):
            examine(tmp_path / name, Path())
    with pytest.raises(UserError, match="absent is no readable YAML"):
        examine(tmp_path / "absent", Path())
    (tmp_path / "c").write_text("a: 1")
    with pytest.raises(UserError, match=r"There is no .*config\.schema\.yaml: run the doctor in the repository"):
        examine(tmp_path / "c", tmp_path)


def test_it_only_reads(patient):
    before = sorted((p, p.lstat().st_mtime_ns) for p in patient.city.rglob("*"))
    patient.examine()
    assert sorted((p, p.lstat().st_mtime_ns) for p in patient.city.rglob("*")) == before
    assert not (patient.folder / "results").exists()
