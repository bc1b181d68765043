"""Shards of propagation and refinement: what is made, what is found, what is named when it is wrong."""

import csv

import numpy as np
import pytest
from PIL import Image

from fewframes.core.clips import Clip, write_clips
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.core.labelfile import Layer, read_label_layer, read_layer, read_provenance, write_label_file
from fewframes.core.labels import load_class_table
from fewframes.labelling.propagation.driver import propagate_shard
from fewframes.labelling.quality import write_quality
from fewframes.labelling.refinement.driver import refine_shard

CLASSES = load_class_table("cityscapes")
ROAD, CAR, VOID = 7, 26, 0


@pytest.fixture
def root(tmp_path):
    """A clip of seven frames: a textured car moves two pixels a frame over a textured road."""
    root = tmp_path / "data"
    (root / "truth").mkdir(parents=True)
    rng = np.random.default_rng(0)
    road, car = (rng.integers(low, low + 120, (64, 160, 3)).astype(np.uint8) for low in (0, 130))
    for number in range(7):
        frame, label = road.copy(), np.full((64, 160), ROAD, np.uint8)
        left = 50 + 2 * number
        frame[20:44, left : left + 40], label[20:44, left : left + 40] = car[20:44, :40], CAR
        Image.fromarray(frame).save(root / f"{number:06d}.png")
        Image.fromarray(label).save(root / "truth" / f"{number:06d}.png")
    coarse = np.full((64, 160), VOID, np.uint8)
    coarse[24:40, 62:90] = CAR
    Image.fromarray(coarse).save(root / "coarse.png")
    return root


def clip(**changes):
    facts = {"id": "c", "split": "train", "group": "g", "image": "000003.png", "frames": "{frame:06d}.png", "key": 3}
    labels = {"fine": "truth/000003.png", "coarse": "coarse.png", "truth": "{frame:06d}.png"}
    facts |= {"first": -3, "last": 3, **labels}
    return Clip(**{**facts, **changes})


def true_label(root, number):
    return CLASSES.to_train_ids(np.array(Image.open(root / f"truth/{number:06d}.png")), "")


def propagate(root, offsets, method="flow", settings=None, one=None):
    results = root.parent / "results"
    write_clips(results / "shard.csv", [one or clip()], {"offsets": {"c": offsets}, "state": {"c": ""}})
    out = results / "pseudo" / method / "0000.csv"
    propagate_shard(results / "shard.csv", method, settings or {}, root, CLASSES, results, out)
    with out.open(newline="") as file:
        return {int(row["offset"]): row for row in csv.DictReader(file)}


def made(root):
    return {p: p.stat().st_mtime_ns for p in (root.parent / "results").rglob("*.h5")}


def test_labels_follow_the_object_and_the_key_frame_keeps_its_annotation(root):
    rows = propagate(root, "-3 2 3")
    assert sorted(rows) == [-3, 0, 2, 3]
    file = root.parent / "results" / rows[3]["file"]
    assert (read_label_layer(file, 0) == true_label(root, 3)).all()
    truth = true_label(root, 6)
    label = read_label_layer(file, 3)
    claimed = label != 255
    assert claimed.mean() > 0.8
    assert (label[claimed] == truth[claimed]).mean() > 0.98
    provenance = read_provenance(file)
    assert provenance["annotation"] == "truth/000003.png" and provenance["method"] == "flow"
    assert rows[3]["checksum"] == read_layer(file, 3).checksum


def test_what_was_made_is_found(root, capsys):
    rows = propagate(root, "-1 1")
    before = made(root)
    assert propagate(root, "-1 1") == rows
    assert made(root) == before
    assert "0 clips labelled, 1 found" in capsys.readouterr().err


def test_further_offsets_leave_the_others_as_they_are(root):
    rows = propagate(root, "1")
    more = propagate(root, "-2 1 3")
    assert more[1] == rows[1] and more[0] == rows[0]
    assert sorted(more) == [-2, 0, 1, 3]
    assert len(made(root)) == 1


def test_offsets_asked_for_one_by_one_or_at_once_are_the_same(root):
    for offsets in ("1", "1 3", "-2 1 3"):
        bit_by_bit = propagate(root, offsets)
    for path in made(root):
        path.unlink()
    assert propagate(root, "-2 1 3") == bit_by_bit


def test_a_changed_frame_costs_what_lies_beyond_it(root):
    rows = propagate(root, "-1 1 3")
    Image.fromarray(255 - np.array(Image.open(root / "000005.png"))).save(root / "000005.png")
    after = propagate(root, "-1 1 3")
    assert {o for o in rows if rows[o]["fingerprint"] != after[o]["fingerprint"]} == {3}


def test_annotation_and_settings_are_part_of_a_labels_name(root):
    rows = propagate(root, "1")
    settings = propagate(root, "1", settings={"max_disagreement": 0.5})
    assert settings[1]["file"] != rows[1]["file"]
    label = np.array(Image.open(root / "truth/000003.png"))
    label[0, 0] = 8
    Image.fromarray(label).save(root / "truth/000003.png")
    assert propagate(root, "1")[1]["file"] not in (rows[1]["file"], settings[1]["file"])


def test_a_truncated_label_file_is_made_again(root):
    rows = propagate(root, "1")
    (path,) = made(root)
    path.write_bytes(path.read_bytes()[:-500])
    assert propagate(root, "1") == rows
    assert read_label_layer(path, 1).shape == (64, 160)


def test_a_frame_of_another_size_or_absent_is_named(root):
    Image.new("RGB", (80, 32)).save(root / "000005.png")
    with pytest.raises(UserError, match=r"000005\.png is 80x32 but its clip's annotation is 160x64"):
        propagate(root, "3")
    (root / "000005.png").unlink()
    with pytest.raises(UserError, match=r"000005\.png does not exist"):
        propagate(root, "3")


def test_quality_scores_claimed_copied_and_all_pixels(root):
    for method in ("flow", "copy"):
        propagate(root, "-3 -1 1 3", method)
    results = root.parent / "results"
    rows = {}
    for method in ("flow", "copy"):
        out = results / "quality" / f"{method}.csv"
        made = results / "pseudo" / method / "0000.csv"
        write_quality(method, made, [clip()], 3, results, root / "truth", CLASSES, out)
        with out.open(newline="") as file:
            rows |= {(method, r["offset"], r["class"]): r for r in csv.DictReader(file)}
    assert {offset for _, offset, _ in rows} == {"-3", "-1", "1", "3", "±1", "±3"}
    flow, copy = rows["flow", "±3", "mean"], rows["copy", "±3", "mean"]
    # Copied: the car overlaps its true place by 34 of 40 columns: 34 / 46.
    assert float(rows["copy", "3", "car"]["iou_all"]) == pytest.approx(100 * 34 / 46, abs=0.01)
    assert copy["iou_claimed"] == copy["iou_copy"] == copy["iou_all"] and copy["coverage"] == "100.00"
    assert float(flow["iou_claimed"]) > float(flow["iou_copy"])
    assert float(flow["iou_claimed"]) > float(flow["iou_all"])
    assert rows["flow", "±3", "car"]["frames"] == "2"
    assert rows["flow", "±3", "sky"]["iou_claimed"] == ""


def test_quality_shows_what_an_ignore_policy_leaves_out(root):
    truth = true_label(root, 4)
    car = CLASSES.names.index("car")
    index = np.where(truth == car, 1, 0).astype(np.int16)
    index[:, :8] = 1  # wrong, and not sure
    sure = index == np.where(truth == car, 1, 0)
    objects = {"train_id": np.array([0, car], np.uint8)}
    made = objects["train_id"][index]
    layer = Layer(np.where(sure, made, 255).astype(np.uint8), "f", {"object": index}, objects)
    results = root.parent / "results"
    write_label_file(results / "c.h5", {0: Layer(true_label(root, 3), "k"), 1: layer}, {})
    (results / "labels.csv").write_text("clip,offset,file,fingerprint,checksum\nc,1,c.h5,f,x\n")
    out = results / "quality.csv"
    write_quality("m", results / "labels.csv", [clip()], 3, results, root / "truth", CLASSES, out)
    with out.open(newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert (rows["mean"]["coverage"], rows["mean"]["iou_claimed"]) == ("95.00", "100.00")
    assert rows["mean"]["coverage_unfiltered"] == "100.00"
    # 8 of 160 columns are called car: of 24 rows by 40 columns and as many as all 64 rows by 8.
    assert float(rows["car"]["iou_unfiltered"]) == pytest.approx(100 * 960 / (960 + 512), abs=0.01)


def test_quality_without_truth_says_so(root):
    propagate(root, "1", "copy")
    results = root.parent / "results"
    made = results / "pseudo/copy/0000.csv"
    with pytest.raises(UserError, match="with dense truth below"):
        write_quality("copy", made, [clip()], 3, results, root / "nowhere", CLASSES, results / "q.csv")


def refine(root, method="grabcut", settings=None, one=None):
    results = root.parent / "results"
    write_clips(results / "shard.csv", [one or clip()], {"offsets": {"c": "0"}, "state": {"c": ""}})
    out = results / "refined" / method / "0000.csv"
    refine_shard(results / "shard.csv", method, settings or {}, root, CLASSES, results, out)
    with out.open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row, results / row["file"]


def test_refinement_makes_a_label_and_finds_it_again(root):
    row, file = refine(root)
    label = read_label_layer(file, 0)
    truth = true_label(root, 3)
    coarse = CLASSES.to_train_ids(np.array(Image.open(root / "coarse.png")), "")
    car = CLASSES.names.index("car")
    assert ((label == car) & (truth == car)).sum() > ((coarse == car) & (truth == car)).sum()
    before = made(root)
    assert refine(root)[0] == row and made(root) == before
    kept, same = refine(root, "none")
    assert (read_label_layer(same, 0) == coarse).all() and kept["fingerprint"] != row["fingerprint"]


def test_a_shard_refines_what_it_asks_for_by_the_method(root):
    row, file = refine(root, "none")
    results = root.parent / "results"
    before = file.stat().st_mtime_ns
    out, shard = results / "refined/none/0000.csv", results / "shard.csv"
    for methods, found in (("none grabcut", 1), ("*", 1), ("grabcut", 0)):
        write_clips(shard, [clip()], {"offsets": {"c": "0"}, "methods": {"c": methods}, "state": {"c": ""}})
        refine_shard(shard, "none", {}, root, CLASSES, results, out)
        rows = read_csv(out, ("clip",))
        assert rows == [row] * found
    assert file.stat().st_mtime_ns == before


def test_a_coarse_label_of_another_size_is_named(root):
    Image.new("L", (80, 32)).save(root / "coarse.png")
    with pytest.raises(UserError, match=r"000003\.png is 160x64 but its coarse label is "):
        refine(root)
