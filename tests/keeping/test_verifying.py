import json
import os
import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from kept import CONFIG, REPOSITORY, Kept

from fewframes.core.errors import UserError
from fewframes.core.files import content_hash, read_csv, write_csv
from fewframes.doctor.report import FAULT, WARNING
from fewframes.keeping.inspection import begin
from fewframes.keeping.trained import rescore
from fewframes.keeping.verifying import Verified, verify


def faults(verified: Verified) -> list[tuple[str, str]]:
    return sorted({(f.group, f.what) for f in verified.report.rows if f.severity == FAULT})


def named(verified: Verified) -> set[str]:
    return {Path(f.name).name for f in verified.report.rows if f.severity == FAULT}


def flipped(path: Path, place: int = -200) -> Path:
    """Change one byte, and neither size nor time."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return path


def test_finished_results_are_whole_and_nothing_is_written(kept: Kept) -> None:
    before = kept.files()
    verified = kept.verify()
    assert verified.report.rows == [] and verified.report.exit_code == 0
    assert verified.report.text().endswith("\nWhole.")
    assert kept.files() == before
    text = verified.report.text()
    assert "2 runs of 4" in text and "2 tables of 2" in text


def test_rot_in_an_image_is_told_from_an_edit(kept: Kept) -> None:
    row = read_csv(kept.results / "manifests/n1/draw0.csv", ("image",))[0]
    image = flipped(Path("city") / row["image"])
    verified = kept.verify()
    assert faults(verified) == [("Dataset", "damaged: another content at the same size and time")]
    assert named(verified) == {image.name}
    os.utime(image)
    assert faults(kept.verify()) == [("Dataset", "changed since they were used")]
    assert not kept.verify().inspection.broken, "the dataset is its owner's"


def test_an_edited_annotation_is_told_though_no_hash_is_kept(kept: Kept) -> None:
    shutil.rmtree(kept.results / "hashes")
    row = read_csv(kept.results / "pseudo/copy/0000.csv", ("clip",))[0]
    (path,) = Path("city/gtFine").rglob(f"{row['clip']}_gtFine_labelIds.png")
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[:4] = 8
    cv2.imwrite(str(path), label)
    verified = kept.verify()
    assert ("Dataset", "changed since they were used") in faults(verified) and path.name in named(verified)


def test_a_missing_frame_between_key_frame_and_label_is_missing(kept: Kept) -> None:
    row = next(
        r for r in read_csv(kept.results / "manifests/b3/draw0.csv", ("image", "offset")) if r["offset"] == "-10"
    )
    head, number, tail = Path(row["image"]).name.rsplit("_", 2)
    between = (Path("city") / row["image"]).with_name(f"{head}_{int(number) + 3:06d}_{tail}")
    between.unlink()
    verified = kept.verify()
    assert faults(verified) == [("Dataset", "missing")] and named(verified) == {between.name}


def test_damaged_and_missing_label_files_are_named_with_the_csv_to_make_again(kept: Kept) -> None:
    rows = read_csv(kept.results / "pseudo/copy/labels.csv", ("file",))
    damaged, missing = (kept.results / name for name in sorted({row["file"] for row in rows})[:2])
    with h5py.File(damaged, "r+") as file:
        layer = next(iter(file["labels"]))
        pixels = file["labels"][layer][()]
        pixels[0, 0] ^= 1
        file["labels"][layer][...] = pixels
    missing.unlink()
    verified = kept.verify()
    assert faults(verified) == [("Labels", "label files damaged"), ("Labels", "label files missing")]
    assert named(verified) == {damaged.name, missing.name}
    csvs = {file.name for file in verified.inspection.broken if file.suffix == ".csv"}
    assert csvs and csvs <= {"0000.csv", "0001.csv"}


def test_an_edited_label_csv_is_told_from_its_label_file(kept: Kept) -> None:
    path = next(p for p in sorted(kept.results.glob("pseudo/copy/000?.csv")) if len(p.read_text().splitlines()) > 1)
    rows = read_csv(path, ("checksum",))
    rows[0]["checksum"] = "0" * 16
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows])
    assert faults(kept.verify()) == [("Labels", "label CSVs that say other than the label files")]
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows[1:]])
    assert ("Labels", "label CSVs that do not list what the plan deals out") in faults(kept.verify())


def test_a_label_csv_that_leads_out_of_the_results_is_damaged(kept: Kept) -> None:
    path = next(p for p in sorted(kept.results.glob("pseudo/copy/000?.csv")) if len(p.read_text().splitlines()) > 1)
    path.write_text(path.read_text().replace("pseudo/copy/labels/", "../../city/"))
    verified = kept.verify()
    assert faults(verified) == [("Labels", "label CSVs that are damaged")]
    assert list(verified.inspection.broken) == [path]


def test_a_prepared_file_is_prepared_again(kept: Kept) -> None:
    it = begin(Path("config.yaml"), REPOSITORY, 1)
    file = kept.results / "prepared/gtFine/a.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"another")
    assert it.blame(["prepared:gtFine/a.png"], {"prepared:gtFine/a.png": "0" * 16})
    assert set(it.broken) == {file, kept.results / "prepare.ran"}


def test_an_edited_manifest_is_told_from_its_files(kept: Kept) -> None:
    path = kept.results / "manifests/n1/draw0.csv"
    rows = read_csv(path, ("image",))
    rows[0]["image"] = rows[1]["image"]
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows])
    verified = kept.verify()
    assert ("Manifests", "manifests that say other than the files that they name") in faults(verified)
    assert path in verified.inspection.broken


def test_a_manifest_that_lost_a_row_is_not_what_was_trained_on(kept: Kept) -> None:
    path = kept.results / "manifests/n1/draw0.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    verified = kept.verify()
    assert ("Trainings", "trainings on other samples, or by an older version") in faults(verified)
    assert path in verified.inspection.broken


def test_trainings_by_other_settings_are_stale_and_nothing_is_to_be_made_room_for(kept: Kept) -> None:
    training = {"tmanet": {**CONFIG["training"]["tmanet"], "lr": 0.5}}
    kept.configure(training=training)
    verified = kept.verify()
    assert faults(verified) == [("Trainings", "trainings by other settings than the config has")]
    assert not verified.inspection.broken


@pytest.mark.parametrize(
    ("name", "group", "what"),
    [
        ("model.safetensors", "Trainings", "models that are not what was trained"),
        ("confusion.npz", "Scores", "confusion matrices that are damaged"),
    ],
)
def test_a_flipped_byte_in_a_run_is_found(kept: Kept, name: str, group: str, what: str) -> None:
    path = flipped(kept.run("n1") / name)
    verified = kept.verify()
    assert faults(verified) == [(group, what)]
    assert list(verified.inspection.broken) == [path]


def test_a_model_cut_short_is_damaged(kept: Kept) -> None:
    path = kept.run("n1") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert faults(kept.verify()) == [("Trainings", "models that are damaged")]


def test_scores_of_another_model_are_stale(kept: Kept) -> None:
    facts = json.loads((kept.run("n1") / "training.json").read_text())
    flipped(kept.run("n1") / "model.safetensors")
    facts["model"] = content_hash(kept.run("n1") / "model.safetensors")
    (kept.run("n1") / "training.json").write_text(json.dumps(facts))
    verified = kept.verify()
    assert faults(verified) == [("Scores", "confusion matrices of another model")]
    assert list(verified.inspection.broken) == [kept.run("n1") / "confusion.npz"]


def test_edited_scores_are_found_and_the_tables_are_not_accused(kept: Kept) -> None:
    path = kept.run("b3") / "metrics.csv"
    path.write_text(path.read_text().replace("mean,", "mean,9", 1))
    verified = kept.verify()
    assert faults(verified) == [("Scores", "scores that do not follow from the confusion matrices")]
    assert verified.inspection.rescored == [kept.run("b3")] and not verified.inspection.broken
    assert [f.severity for f in verified.report.rows if f.group == "Tables"] == [WARNING] * 2


def test_scores_of_several_paths_follow_from_the_totals(kept: Kept) -> None:
    run = kept.run("n1")
    with np.load(run / "confusion.npz") as file:
        arrays = {name: file[name] for name in file.files}
    paths = np.stack([arrays["totals"][0], arrays["totals"][0].T])
    arrays |= {"totals": paths, "confusion": np.concatenate([arrays["confusion"], paths[1:]])}
    arrays["clips"] = np.array([*arrays["clips"], "more"])
    np.savez_compressed(run / "confusion.npz", **arrays)
    rescore(kept.verify().inspection, run, run)
    assert len((run / "paths.csv").read_text().splitlines()) == 3


def test_an_edited_table_is_found(kept: Kept) -> None:
    path = kept.results / "tables/table1.csv"
    path.write_text(path.read_text().replace("N1", "N2", 1))
    verified = kept.verify()
    assert faults(verified) == [("Tables", "tables that are not what the runs say")]
    assert list(verified.inspection.broken) == [path]


def test_what_an_older_version_did_not_record_is_said_and_is_no_fault(kept: Kept) -> None:
    facts = json.loads((kept.run("n1") / "training.json").read_text())
    del facts["model"]
    (kept.run("n1") / "training.json").write_text(json.dumps(facts))
    (kept.run("b3") / "training.json").unlink()
    report = kept.verify().report
    assert report.exit_code == 0 and report.text().endswith("Whole; 2 pieces cannot be told.")


def test_a_config_that_does_not_hold_is_refused(kept: Kept) -> None:
    kept.configure(experiments=["n1", "b33"])
    with pytest.raises(UserError, match="b33"):
        kept.verify()
    kept.configure(dataset={"name": "other", "root": "city"})
    with pytest.raises(UserError, match="Nothing was made"):
        verify(Path("config.yaml"), REPOSITORY, 1)


def test_filled_labels_are_held_against_the_model_that_filled_them(kept: Kept) -> None:
    (damaged, *_) = kept.label_files("filled/b3-filled-1")
    csv = kept.results / "filled/b3-filled-1/draw0.csv"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:200])
    verified = kept.verify()
    assert faults(verified) == [("Labels", "label files damaged")] and set(verified.inspection.broken) == {damaged, csv}
    damaged.write_bytes(content)
    shutil.copy(kept.run("n1") / "model.safetensors", kept.run("b3") / "model.safetensors")
    assert ("Labels", "labels filled by another model than there is") in faults(kept.verify())
