import csv
import os
import time
from dataclasses import astuple, fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewframes.core import files
from fewframes.core.clips import Clip, Root, asks_for, read_clips, read_shard
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, content_hash, write_csv
from fewframes.core.images import read_image, read_label
from fewframes.core.labels import load_class_table
from fewframes.experiments.corrected import adopt_corrections, read_corrected
from fewframes.experiments.dealing import Pick, Stock, picks, stills_of
from fewframes.experiments.manifests import (
    LABEL_COLUMNS,
    Labels,
    evaluation_picks,
    write_family,
    write_manifest,
)
from fewframes.experiments.plan import Request, asked_of_stages, write_plan
from fewframes.experiments.schemes import load_catalogue
from fewframes.experiments.selection import COLUMNS
from fewframes.labelling.correctionfolder import Correction
from fewframes.labelling.exporting import image_hash
from fewframes.labelling.exporting.classes import write_classes

CATALOGUE = load_catalogue(Path(__file__).parents[2] / "workflow/experiments/catalogue.yaml")
CLASSES = load_class_table("cityscapes")


@pytest.fixture
def dataset(tmp_path):
    """Three training clips of frames 0 to 29, key frame 19, and a validation still; files hold their names."""
    root = tmp_path / "data"
    clips = []
    for name in ("a", "b", "c"):
        for number in range(30):
            write(root / name / f"{number:06d}.png", f"{name}{number}")
        for kind in ("fine", "coarse"):
            write(root / f"{name}_{kind}.png", f"{name} {kind}")
        clips.append(
            Clip(name, "train", "g", f"{name}/000019.png", name + "/{frame:06d}.png", 19, 1, -19, 10,
                 f"{name}_fine.png", coarse=f"{name}_coarse.png", truth="t{frame}")
        )  # fmt: skip
    write(root / "v.png", "v")
    write(root / "v_fine.png", "v fine")
    clips.append(Clip("v", "val", "g", "v.png", fine="v_fine.png"))
    return root, clips


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    settled = time.time() - 60
    os.utime(path, (settled, settled))


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def picture(path, shade, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), shade).save(path, **options)


def correction(dataset, folder, classes, clip="a", offset=10, known=None):
    """A correction in the folder, all car, of a frame that shows one colour."""
    frame = dataset / clip / f"{19 + offset:06d}.png"
    picture(frame, (offset % 255, 9, 9))
    file = f"labels/{clip}_{offset}.png"
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), 26, np.uint8)).save(folder / file)
    write_classes(folder / "classes.csv", classes)
    meaning = f"classes/{content_hash(folder / 'classes.csv')}.csv"
    (folder / "classes").mkdir(exist_ok=True)
    (folder / "classes.csv").replace(folder / meaning)
    known = known or image_hash(read_image(frame))
    facts = (file, content_hash(folder / file), meaning, known)
    return Correction(clip, offset, "pseudo", "flow", "f", *facts, 6.0, "Ada", "cvat", "2026-11-22", 1.5)


def listed(folder, corrections):
    write_csv(folder / "corrections.csv", [f.name for f in fields(Correction)], map(astuple, corrections))


def test_a_corrected_label_takes_the_place_of_the_made_one(dataset, tmp_path, capsys, monkeypatch):
    folder, clips = dataset
    root, results = Root(folder, tmp_path / "prepared"), tmp_path / "results"
    hashes = ContentHashes(tmp_path / "hashes", "t")
    reviewed = tmp_path / "reviewed"
    corrections = [
        correction(folder, reviewed, CLASSES),
        correction(folder, reviewed, CLASSES, offset=0),
        correction(folder, reviewed, CLASSES, "b", known="another"),
        correction(folder, reviewed, CLASSES, "c", 11),
    ]
    listed(reviewed, corrections)
    # Within a cluster's job, what should be there is waited for; a copy that is to be written is not.
    monkeypatch.setenv(files.JOB, "7")
    monkeypatch.setattr(files.time, "sleep", lambda seconds: pytest.fail("it waits"))
    adopt_corrections(reviewed, clips, root, CLASSES, results)
    said = capsys.readouterr().err
    assert "a at +0 left out: it is of the annotated frame" in said
    assert "b at +10 left out: its image has changed since" in said
    assert "c at +11 left out: there is no such frame" in said
    corrected = read_corrected(results)
    assert set(corrected) == {("a", 10, "pseudo")}
    labels = tmp_path / "labels.csv"
    write_csv(labels, LABEL_COLUMNS, [(c, o, f"{c}.h5", "f", "s") for c in "abc" for o in (-10, 10)])
    samples = [Pick(clip, offset, "pseudo") for clip in clips[:2] for offset in (-10, 10)]
    made = {"pseudo": Labels("flow", labels)}
    write_manifest(tmp_path / "m.csv", samples, root, hashes, 1, made, corrected)
    rows = rows_of(tmp_path / "m.csv")
    assert [row["source"] for row in rows] == ["pseudo:flow", "corrected-pseudo", "pseudo:flow", "pseudo:flow"]
    assert (read_label(root / rows[1]["label"]) == 26).all()
    assert len({row["fingerprint"] for row in rows}) == 4


def test_a_correction_is_of_its_pixels_and_of_its_class(dataset, tmp_path):
    """The frame is decoded anew to other bytes, the copy damaged, the class table renumbered: still a car."""
    folder, clips = dataset
    root, results = Root(folder, tmp_path / "prepared"), tmp_path / "results"
    listed(tmp_path / "reviewed", [correction(folder, tmp_path / "reviewed", CLASSES)])
    adopt_corrections(tmp_path / "reviewed", clips, root, CLASSES, results)
    ((key, before),) = read_corrected(results).items()
    frame = folder / "a/000029.png"
    bytes_before = content_hash(frame)
    picture(frame, (10, 9, 9), compress_level=0)
    assert content_hash(frame) != bytes_before
    (root / before.file).write_bytes(b"")
    classes = [
        replace(c, id=99) if c.name == "car" else replace(c, id=26) if c.id == 24 else c for c in CLASSES.classes
    ]
    renumbered = replace(CLASSES, classes=tuple(classes))
    for table, expected in ((CLASSES, 26), (renumbered, 99)):
        adopt_corrections(tmp_path / "reviewed", clips, root, table, results)
        assert read_corrected(results) == {key: before}
        assert (read_label(root / before.file) == expected).all()
    written = (root / before.file).stat().st_mtime_ns
    adopt_corrections(tmp_path / "reviewed", clips, root, renumbered, results)
    assert (root / before.file).stat().st_mtime_ns == written
    carless = replace(CLASSES, name="carless", classes=tuple(c for c in CLASSES.classes if c.name != "car"))
    with pytest.raises(UserError, match=r"has pixels of \['car'\], which the class table 'carless' lacks"):
        adopt_corrections(tmp_path / "reviewed", clips, root, carless, results)


def manifest(dataset, tmp_path, name, made=None, past=1):
    root, clips = dataset
    path = tmp_path / "m.csv"
    hashes = ContentHashes(tmp_path / "hashes", "test")
    write_manifest(path, picks(CATALOGUE[name], clips[:3], 0), root, hashes, past, made or {})
    return rows_of(path)


def labels(tmp_path, fingerprint="f"):
    rows = [[c, o, f"pseudo/{c}.h5", f"{fingerprint}{c}{o}", "x"] for c in "abc" for o in (-10, 0, 10)]
    write_csv(tmp_path / "labels.csv", LABEL_COLUMNS, rows)
    return {"pseudo": Labels("flow", tmp_path / "labels.csv")}


def test_a_manifest_names_image_memory_and_label(dataset, tmp_path):
    rows = manifest(dataset, tmp_path, "b3", labels(tmp_path), past=2)
    assert len(rows) == 3
    clip = rows[0]["clip"]
    assert [r["offset"] for r in rows] == ["-10", "0", "10"]
    assert [r["source"] for r in rows] == ["pseudo:flow", "fine", "pseudo:flow"]
    assert [r["image"] for r in rows] == [f"{clip}/{n:06d}.png" for n in (9, 19, 29)]
    assert (rows[0]["memory_1"], rows[0]["memory_2"]) == (f"{clip}/000007.png", f"{clip}/000008.png")
    assert [r["label"] for r in rows] == [f"pseudo/{clip}.h5", f"{clip}_fine.png", f"pseudo/{clip}.h5"]


def test_fingerprints_change_with_image_memory_and_label_alone(dataset, tmp_path):
    root, _ = dataset
    before = manifest(dataset, tmp_path, "b3", labels(tmp_path))
    clip = before[0]["clip"]
    for file, changed in ((f"{clip}/000009.png", {0}), (f"{clip}/000018.png", {1}), (f"{clip}_fine.png", {1})):
        write(root / file, "something else")
        after = manifest(dataset, tmp_path, "b3", labels(tmp_path))
        assert {i for i in range(3) if after[i] != before[i]} == changed
        before = after
    after = manifest(dataset, tmp_path, "b3", labels(tmp_path, "other"))
    assert {i for i in range(3) if after[i] != before[i]} == {0, 2}


def test_touching_and_moving_the_dataset_changes_no_manifest(dataset, tmp_path):
    root, clips = dataset
    before = manifest(dataset, tmp_path, "n1")
    for path in root.rglob("*.png"):
        path.touch()
    assert manifest(dataset, tmp_path, "n1") == before
    root.rename(tmp_path / "moved")
    assert manifest((tmp_path / "moved", clips), tmp_path, "n1") == before


def test_a_label_that_was_not_made_is_named(dataset, tmp_path):
    write_csv(tmp_path / "labels.csv", LABEL_COLUMNS, [])
    with pytest.raises(UserError, match=r"No label of [abc] at offset -10 was made by 'flow'"):
        manifest(dataset, tmp_path, "b3", {"pseudo": Labels("flow", tmp_path / "labels.csv")})


def test_a_still_is_its_own_memory(dataset, tmp_path, capsys):
    root, clips = dataset
    samples = evaluation_picks(clips, "val")
    assert "1 of 1 evaluation frames have no earlier frame" in capsys.readouterr().err
    write_manifest(tmp_path / "e.csv", samples, root, ContentHashes(tmp_path, "x"), 1, {})
    (row,) = rows_of(tmp_path / "e.csv")
    assert row["memory_1"] == row["image"] == "v.png"
    with pytest.raises(UserError, match="split 'test'"):
        evaluation_picks(clips, "test")


def plan(dataset, out, names, shards=2, **changes):
    root, clips = dataset
    request = Request([CATALOGUE[n] for n in names], [0], 1, CLASSES, **changes)
    write_plan(clips, root, request, shards, out)
    return {
        stage: {
            clip.id: extra["offsets"]
            for path in sorted((out / "shards" / stage).iterdir())
            for clip, extra in read_shard(path)
        }
        for stage in ("propagate", "refine")
    }


def test_the_plan_asks_for_no_more_than_is_needed(dataset, tmp_path):
    assert plan(dataset, tmp_path, ["n1"]) == {"propagate": {}, "refine": {}}
    assert read_clips(tmp_path / "index.csv") == dataset[1]
    needed = plan(dataset, tmp_path, ["n1", "b3", "coarse-50-refined"])
    assert list(needed["propagate"].values()) == ["-10 10"]
    assert len(needed["refine"]) == 2
    measured = plan(dataset, tmp_path, ["n1"], measured=["train"], reach=2)
    assert measured["propagate"] == dict.fromkeys("abc", "-2 -1 1 2")


def test_a_plans_files_change_by_content(dataset, tmp_path):
    root, _ = dataset

    def files():
        plan(dataset, tmp_path / "out", ["b3"], shards=3, measured=["train"], reach=2)
        return {p.name: p.read_text() for p in (tmp_path / "out/shards/propagate").iterdir()}

    before = files()
    (root / "a_fine.png").touch()
    (root / "a/000000.png").write_text("a frame that nobody needs")
    assert files() == before
    write(root / "a_fine.png", "another annotation")
    after = files()
    assert sum(after[name] != before[name] for name in before) == 1
    (root / "b/000018.png").touch()
    assert sum(files()[name] != after[name] for name in after) == 1


def test_labels_for_all_ask_no_experiment(dataset, tmp_path):
    root, clips = dataset
    request = Request([], [0], 1, CLASSES, offsets=(-2, 12))
    write_plan(clips, root, request, 2, tmp_path / "out")
    shards = [read_shard(tmp_path / f"out/shards/propagate/{n:04d}.csv") for n in range(2)]
    offsets = {clip.id: extra["offsets"] for shard in shards for clip, extra in shard}
    # As far as the frames reach: to +10.
    assert offsets == dict.fromkeys("abc", "-2 -1 1 2 3 4 5 6 7 8 9 10")
    with pytest.raises(UserError, match="No finely annotated clip of split 'train' has a frame"):
        write_plan(clips, root, Request([], [0], 1, CLASSES, offsets=(11, 12)), 2, tmp_path / "out")


def test_when_no_clip_can_serve_the_plan_says_why(dataset, tmp_path):
    root, clips = dataset
    short = [Clip(**{**vars(c), "last": 5}) for c in clips]
    with pytest.raises(UserError, match=r"None of the 3 clips .*3 have no frame at offset \+10"):
        plan((root, short), tmp_path, ["b3"])


def test_a_family_is_written_as_asked(dataset, tmp_path):
    root, _ = dataset
    plan(dataset, tmp_path, ["n1"])
    settings = {
        "experiments": {"n1": CATALOGUE["n1"].recipe},
        "draws": [0, 3],
        "past_frames": 1,
        "evaluation_split": "val",
    }
    write_family("annotated", settings, root, tmp_path, {})
    found = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "manifests").rglob("*.csv"))
    assert found == ["manifests/evaluation.csv", "manifests/n1/draw0.csv"]


@pytest.fixture
def with_stills(dataset):
    """The same with two coarsely annotated stills of train_extra."""
    root, clips = dataset
    for name in ("x", "y"):
        write(root / f"{name}.png", name)
        write(root / f"{name}_coarse.png", f"{name} coarse")
        clips.append(Clip(name, "train_extra", "g", f"{name}.png", coarse=f"{name}_coarse.png"))
    return root, clips


def family(dataset, out, names, made=None, **more):
    """The manifests of experiments of one family, in draw 0, after their plan."""
    plan(dataset, out, names)
    experiments = [CATALOGUE[name] for name in names]
    (kind,) = {experiment.family for experiment in experiments}
    settings = {"experiments": {e.id: e.recipe for e in experiments}, "draws": [0], "past_frames": 2, **more}
    write_family(kind, settings, dataset[0], out, made or {})
    return {name: rows_of(out / "manifests" / name / "draw0.csv") for name in names}


def test_beside_images_without_a_sequence_every_sample_is_its_own_memory(with_stills, tmp_path):
    found = family(with_stills, tmp_path, ["extra-50", "extra-50-fine", "n1-still", "n1"])
    extra = found["extra-50"]
    assert [row["source"] for row in extra].count("coarse") == 2
    assert {row["clip"] for row in extra if row["source"] == "coarse"} == {"x", "y"}
    for row in (*extra, *found["n1-still"]):
        assert row["memory_1"] == row["memory_2"] == row["image"]
    assert found["extra-50-fine"] == [row for row in extra if row["source"] == "fine"]
    for still, moving in zip(found["n1-still"], found["n1"], strict=True):
        assert (still["label"], moving["memory_2"]) == (moving["label"], f"{moving['clip']}/000018.png")
        assert still["fingerprint"] != moving["fingerprint"]


def test_images_without_a_sequence_are_refined(with_stills, tmp_path):
    needed = plan(with_stills, tmp_path, ["n1", "extra-50-refined"])
    assert needed == {"propagate": {}, "refine": {"x": "0", "y": "0"}}
    before = {path.name: path.read_text() for path in (tmp_path / "shards/refine").iterdir()}
    write(with_stills[0] / "x_coarse.png", "another annotation")
    plan(with_stills, tmp_path, ["n1", "extra-50-refined"])
    after = {path.name: path.read_text() for path in (tmp_path / "shards/refine").iterdir()}
    assert sum(after[name] != before[name] for name in after) == 1


def test_methods_refine_what_their_experiments_name_and_all_what_can_be_measured(with_stills, tmp_path):
    plan(with_stills, tmp_path, ["extra-50-refined", "coarse-50-automask"], refinement="grabcut")
    rows = [row for path in sorted((tmp_path / "shards/refine").iterdir()) for row in read_shard(path)]
    asked = {clip.id: extra["methods"] for clip, extra in rows}
    # Stills have no fine label; the others do, whatever experiment has them refined.
    assert {clip for clip, methods in asked.items() if methods == "grabcut"} == {"x", "y"}
    assert [methods for clip, methods in asked.items() if clip in "abc"] == ["*", "*"]
    still, measured = (next(extra for _, extra in rows if extra["methods"] == methods) for methods in ("grabcut", "*"))
    assert asks_for(still, "grabcut") and not asks_for(still, "grabcut_all")
    assert asks_for(measured, "grabcut_all") and asks_for({"offsets": "0"}, "grabcut_all")
    # Figures show the config's method, whatever is trained on.
    every = replace(CATALOGUE["extra-50-refined"], refinement="none")
    eligible, stock = [c for c in with_stills[1] if c.id in "abc"], Stock(stills_of(with_stills[1]))
    _, methods = asked_of_stages([every], eligible, [0], stock, "grabcut")
    assert methods == {clip: {"none", "grabcut"} for clip in "xy"}


def test_each_experiment_takes_the_labels_of_its_own_method(dataset, tmp_path):
    made = {}
    for method in ("grabcut", "automask"):
        rows = [(clip, 0, f"{method}/{clip}.h5", f"{method}{clip}", "x") for clip in "abc"]
        write_csv(tmp_path / f"{method}.csv", LABEL_COLUMNS, rows)
        made[method] = Labels(method, tmp_path / f"{method}.csv")
    found = family(dataset, tmp_path, ["coarse-100-refined", "coarse-100-automask"], {"refined": made})
    for name, method in (("coarse-100-refined", "grabcut"), ("coarse-100-automask", "automask")):
        assert {row["source"] for row in found[name]} == {f"refined:{method}"}
        assert [row["label"] for row in found[name]] == [f"{method}/{clip}.h5" for clip in "abc"]


def test_a_selection_is_read_from_its_measurement(dataset, tmp_path):
    with pytest.raises(UserError, match=r"selection/flow\.csv cannot be read"):
        plan(dataset, tmp_path, ["b3-flow"])
    for fastest in "abc":
        values = [(clip, "f", "9" if clip == fastest else "1") for clip in "abc"]
        write_csv(tmp_path / "selection" / "flow.csv", COLUMNS, values)
        assert plan(dataset, tmp_path, ["b3-flow"])["propagate"] == {fastest: "-10 10"}
        made = {"pseudo": {"flow": labels(tmp_path)["pseudo"]}}
        assert {row["clip"] for row in family(dataset, tmp_path, ["b3-flow"], made)["b3-flow"]} == {fastest}


def test_hours_are_counted_by_the_class_tables_minutes(dataset, tmp_path):
    for minutes, count in ((15, 1), (45, 2), (90, 3)):
        found = family(dataset, tmp_path, ["n1", "coarse-50-hours"], minutes={"fine": 90, "coarse": minutes})
        assert len(found["coarse-50-hours"]) == count


def test_the_plan_says_what_the_dataset_lacks(dataset, tmp_path):
    with pytest.raises(UserError, match=r"takes 2 coarsely annotated images of split 'train_extra', .* has 0"):
        plan(dataset, tmp_path, ["n1", "extra-50"])
