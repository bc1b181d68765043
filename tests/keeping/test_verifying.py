import errno
import hashlib
import io
import json
import os
import shutil
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from kept import CONFIG, REPOSITORY, Kept
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.files import content_hash, read_csv, write_csv
from fewframes.doctor.report import FAULT, WARNING, Group
from fewframes.keeping.inspection import begin
from fewframes.keeping.labelfiles import Seen
from fewframes.keeping.mending import mend
from fewframes.keeping.verifying import Verified, verify
from fewframes.keeping.weights import inspect_weights
from fewframes.labelling.correctionfolder import LISTING, Correction
from fewframes.learning.counted import read_counted, write_counted


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
    counted = read_counted(run / "confusion.npz")
    paths = np.stack([counted.totals[0], counted.totals[0].T])
    counted.confusion[0] += paths[1]
    write_counted(run / "confusion.npz", replace(counted, totals=paths))
    verified = kept.verify()
    assert faults(verified) == [("Scores", "scores that do not follow from the confusion matrices")]
    mend(verified)
    assert len((run / "paths.csv").read_text().splitlines()) == 3


def test_an_edited_table_is_found(kept: Kept) -> None:
    path = kept.results / "tables/table1.csv"
    path.write_text(path.read_text().replace("N1", "N2", 1))
    verified = kept.verify()
    assert faults(verified) == [("Tables", "tables that are not what the runs say")]
    assert list(verified.inspection.broken) == [path]


def test_tables_that_were_asked_for_by_name_are_looked_at_and_those_without_runs_are_not(kept: Kept) -> None:
    kept.configure(tables=[])
    (kept.results / "tables/table2.csv").write_text("of runs that left the config\n")
    assert kept.verify().report.rows == [] and "2 tables of 2" in kept.verify().report.text()
    edited = kept.results / "tables/claims.md"
    edited.write_text(edited.read_text() + "edited\n")
    verified = kept.verify()
    assert faults(verified) == [("Tables", "tables that are not what the runs say")]
    assert list(verified.inspection.broken) == [edited]


def drawn(kept: Kept, name: str) -> Path:
    """A figure as the workflow draws it: a PNG and a PDF."""
    png = kept.results / "figures" / f"{name}.png"
    png.parent.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30)).save(png)
    png.with_suffix(".pdf").write_bytes(b"%PDF-1.4\n...\n%%EOF\n")
    return png


def test_figures_must_open_and_be_there_in_both_forms(kept: Kept) -> None:
    whole = [drawn(kept, name) for name in ("figure1", "cost", "quality", "signals")]
    verified = kept.verify()
    assert verified.report.rows == [] and "8 pictures opened" in verified.report.text()
    flipped(whole[0], 60)
    whole[1].with_suffix(".pdf").write_bytes(b"%PDF-1.4\n")
    whole[2].unlink()
    verified = kept.verify()
    assert faults(verified) == [("Figures", "figures that are damaged"), ("Figures", "figures that are missing")]
    assert set(verified.inspection.broken) == {whole[0], whole[1].with_suffix(".pdf"), whole[2]}


def test_pictures_of_the_users_own_are_left_alone(kept: Kept) -> None:
    drawn(kept, "mine").with_suffix(".pdf").unlink()
    (kept.results / "figures/half.pdf").write_bytes(b"")
    assert kept.verify().report.rows == []


def test_weights_are_held_against_what_was_recorded_when_they_were_used(kept: Kept) -> None:
    it = begin(Path("config.yaml"), REPOSITORY, 1)
    tracker, backbone = Path("tracker.pt"), Path("backbone.pth")
    for path in (tracker, backbone):
        path.write_bytes(path.name.encode())
    it.case.config["propagation"]["sam2"] = {"weights": str(tracker)}
    it.case.config["training"]["tmanet"]["network"]["pretrained"] = str(backbone)
    run = kept.run("n1")
    facts = json.loads((run / "training.json").read_text())
    facts["pretrained"] = hashlib.sha256(backbone.read_bytes()).hexdigest()
    (run / "training.json").write_text(json.dumps(facts))
    told = {"settings": {"weights": hashlib.sha256(tracker.read_bytes()).hexdigest()}}
    seen = {it.results / "pseudo/sam2/labels/a.h5": Seen(told)}

    def looked() -> list[tuple[str, str, str]]:
        group = Group("Weights")
        inspect_weights(it, seen, [run], group)
        assert group.summary == "2 files"
        return [(f.severity, f.what, f.name) for f in group.findings]

    assert looked() == []
    flipped(backbone, 0)
    assert looked() == [(FAULT, "weights that are not those that were used", str(backbone))]
    backbone.unlink()
    assert looked() == [(WARNING, "weights that are not at hand", str(backbone))]
    assert not it.broken, "they are their owner's"


def test_corrected_labels_must_be_as_they_were_imported(kept: Kept) -> None:
    label, classes = b"pixels", b"classes"
    names = ["labels/a.png", f"classes/{hashlib.blake2b(classes, digest_size=8).hexdigest()}.csv"]
    for name, content in zip(names, (label, classes), strict=True):
        (Path("corrections") / name).parent.mkdir(parents=True)
        (Path("corrections") / name).write_bytes(content)
    known = hashlib.blake2b(label, digest_size=8).hexdigest()
    row = Correction(
        "a", 1, "pseudo", "copy", "f", names[0], known, names[1], "i", 2.0, "me", "cvat", "2026-01-01", None
    )
    write_csv(Path("corrections") / LISTING, [f.name for f in fields(row)], [astuple(row)])
    kept.configure(dataset={**CONFIG["dataset"], "corrections": "corrections"})
    assert kept.verify().report.rows == []
    flipped(Path("corrections") / names[0], 0)
    verified = kept.verify()
    assert faults(verified) == [("Dataset", "corrected labels that are not as they were imported")]
    assert not verified.inspection.broken, "they are their owner's"


@pytest.mark.parametrize("refused", ["label", "model", "scores", "manifest", "csv", "image"])
def test_a_file_that_the_system_does_not_give_out_is_not_called_damaged(
    kept: Kept, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = kept.results / "manifests/n1/draw0.csv"
    path = {
        "label": kept.label_files()[0],
        "model": kept.run("n1") / "model.safetensors",
        "scores": kept.run("n1") / "confusion.npz",
        "manifest": manifest,
        "csv": kept.results / "pseudo/copy/0000.csv",
        "image": Path("city") / read_csv(manifest, ("image",))[0]["image"],
    }[refused]
    opened = io.open

    def stale(file: object, *arguments: Any, **named: Any) -> Any:
        if str(file) == str(path):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(file))
        return opened(file, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr("io.open", stale)
    monkeypatch.setattr("builtins.open", stale)
    with pytest.raises(UserError, match=rf"{path.name} .*Stale file handle"):
        kept.verify()


def test_what_was_not_recorded_is_said_and_is_no_fault(kept: Kept) -> None:
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
