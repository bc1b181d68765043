"""`sam2` as a method: what reaches the label file, what a policy leaves of it, and what is refused."""

import csv
import itertools
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fewframes.core.clips import Clip, write_clips
from fewframes.core.errors import UserError
from fewframes.core.labelfile import read_label_layer, read_layer, read_provenance
from fewframes.core.labels import load_class_table
from fewframes.labelling.methods import RANDOM_WEIGHTS
from fewframes.labelling.models.sam2 import build_model
from fewframes.labelling.propagation import KeyFrame, Propagated, build_propagator
from fewframes.labelling.propagation.driver import propagate_shard
from fewframes.labelling.propagation.sam2 import engine, setup
from fewframes.labelling.propagation.sam2.clipwork import Jumps
from fewframes.labelling.propagation.sam2.objects import Objects
from fewframes.labelling.propagation.sam2.policy import Policy, claimed
from fewframes.labelling.propagation.sam2.reading import FramePart, Reader, read_part
from fewframes.labelling.propagation.sam2.tiling import own_share, stitched, tile_columns
from fewframes.labelling.propagation.sam2.tracks import Merged

CLASSES = load_class_table("cityscapes")
HEIGHT, WIDTH = 64, 128
RANDOM = {"weights": "random", "config": "small", "image_size": 64, "seed": 1}
HERE = {"device": "cpu", "threads": 1}


@pytest.fixture
def root(tmp_path):
    """Two clips of seven frames over a moving pattern: two cars side by side on a road, under a sky."""
    root = tmp_path / "data"
    label, instances = np.full((HEIGHT, WIDTH), 7, np.uint8), np.full((HEIGHT, WIDTH), 7, np.int32)
    label[:10], instances[:10] = 23, 23
    for n, left in enumerate((40, 60)):
        label[24:50, left : left + 20], instances[24:50, left : left + 20] = 26, 26000 + n
    for clip, seed in (("a", 0), ("b", 1)):
        (root / clip).mkdir(parents=True)
        coarse = np.random.default_rng(seed).integers(0, 256, (8, 24, 3), dtype=np.uint8)
        scene = cv2.resize(coarse, (WIDTH + 20, HEIGHT), interpolation=cv2.INTER_CUBIC)
        for t in range(7):
            frame = np.ascontiguousarray(scene[:, 2 * t : 2 * t + WIDTH])
            Image.fromarray(frame).save(root / clip / f"{t:06d}.png")
        Image.fromarray(label).save(root / clip / "label.png")
        Image.fromarray(instances.astype(np.uint16)).save(root / clip / "instances.png")
    return root


def clip(name, **changes):
    facts = {
        "id": name,
        "split": "train",
        "group": "g",
        "image": f"{name}/000003.png",
        "key": 3,
        "first": -3,
        "last": 3,
    }
    facts |= {"frames": f"{name}/{{frame:06d}}.png", "fine": f"{name}/label.png"}
    return Clip(**{**facts, "fine_instances": f"{name}/instances.png", **changes})


def propagate(root, offsets="-2 3", clips=("a", "b"), housekeeping=None, **changes):
    results = root.parent / "results"
    shard = [clip(name) for name in clips] if isinstance(clips[0], str) else list(clips)
    extra = {"offsets": {c.id: offsets for c in shard}, "state": {c.id: "" for c in shard}}
    write_clips(results / "shard.csv", shard, extra)
    out = results / "pseudo" / "sam2" / "0000.csv"
    propagate_shard(
        results / "shard.csv", "sam2", RANDOM | changes, root, CLASSES, results, out, HERE | (housekeeping or {})
    )
    with out.open(newline="") as file:
        return {(row["clip"], int(row["offset"])): row for row in csv.DictReader(file)}


def layers(root, rows):
    return {key: read_layer(root.parent / "results" / row["file"], key[1]) for key, row in rows.items()}


def test_a_label_file_holds_what_vouches_for_it(root):
    rows = propagate(root)
    assert list(rows) == [("a", -2), ("a", 0), ("a", 3), ("b", -2), ("b", 0), ("b", 3)]
    made = layers(root, rows)
    for (_, offset), layer in made.items():
        if not offset:
            annotation = CLASSES.to_train_ids(np.array(Image.open(root / "a/label.png")), "")
            assert (layer.label == annotation).all() and not layer.maps and not layer.objects
            continue
        assert layer.maps["object"].dtype == np.int16 and layer.maps["confidence"].dtype == np.uint8
        assert layer.objects["train_id"].tolist() == [0, 10, 13, 13]  # road, sky, two cars
        ids = np.append(layer.objects["train_id"], 255)
        assert (layer.label == ids[layer.maps["object"]]).all()
        assert all(len(layer.objects[name]) == 4 for name in ("presence", "area", "jump"))
        assert (layer.objects["jump"] >= 1).all() and (layer.objects["area"] > 0).any()
    file = root.parent / "results" / rows["a", -2]["file"]
    assert file.parent.name == RANDOM_WEIGHTS
    provenance = read_provenance(file)
    assert provenance["settings"]["weights"] == "random" and provenance["settings"]["objects"] == "panoptic"
    assert provenance["instances_hash"]


def test_clips_are_the_same_alone_and_in_a_group(root, monkeypatch):
    together = setup.set_up

    def many(*arguments):
        one = together(*arguments)
        return setup.Setup(one.tracker, one.side, 100, one.readers, one.notes)

    alone = layers(root, propagate(root))
    for file in (root.parent / "results").rglob("*.h5"):
        file.unlink()
    monkeypatch.setattr(setup, "set_up", many)
    grouped = layers(root, propagate(root, housekeeping={"max_batch": 7}))
    for key, layer in alone.items():
        assert (layer.label == grouped[key].label).mean() > 0.99
        if key[1]:
            np.testing.assert_allclose(layer.objects["presence"], grouped[key].objects["presence"], atol=1e-4)


def test_another_policy_claims_anew_and_tracks_nothing(root, monkeypatch, capsys):
    rows = propagate(root)
    before = layers(root, rows)

    def never(*_):
        raise AssertionError("there is nothing to track")

    monkeypatch.setattr(setup, "set_up", never)
    assert propagate(root) == rows
    level = float(np.median(before["a", -2].maps["confidence"])) / 255 + 0.001
    strict = propagate(root, min_confidence=level)
    assert "0 clips labelled, 2 claimed anew, 0 found" in capsys.readouterr().err
    for key, layer in layers(root, strict).items():
        assert strict[key]["file"] == rows[key]["file"]
        if key[1]:
            assert strict[key]["fingerprint"] != rows[key]["fingerprint"]
            doubted = before[key].maps["confidence"] < 255 * level
            assert (layer.label == np.where(doubted, 255, before[key].label)).all()
            assert (layer.maps["object"] == before[key].maps["object"]).all()
    assert layers(root, propagate(root))["a", 3].checksum == before["a", 3].checksum


def test_further_offsets_track_and_keep_the_others(root):
    few = propagate(root, "1")
    more = propagate(root, "-1 1 2")
    assert all(more[key] == row for key, row in few.items())
    assert {offset for _, offset in more} == {-1, 0, 1, 2}


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"objects": "class"}, {"least_area": 5000}, {"tiles": 2}, {"key_memory": "full"}, {"image_size": 96}],
)
def test_what_decides_the_masks_names_the_file(root, change):
    assert propagate(root, "1", ("a",))["a", 1]["file"] != propagate(root, "1", ("a",), **change)["a", 1]["file"]


def test_instances_are_part_of_a_labels_name_where_they_are_used(root):
    before, by_class = propagate(root, "1", ("a",)), propagate(root, "1", ("a",), objects="class")
    instances = np.array(Image.open(root / "a/instances.png"))
    instances[instances == 26001] = 26000
    Image.fromarray(instances).save(root / "a/instances.png")
    assert propagate(root, "1", ("a",))["a", 1]["file"] != before["a", 1]["file"]
    assert propagate(root, "1", ("a",), objects="class")["a", 1] == by_class["a", 1]
    assert len(layers(root, propagate(root, "1", ("a",)))["a", 1].objects["train_id"]) == 3


def test_tiles_cover_the_frame_and_know_the_same_objects(root):
    layer = layers(root, propagate(root, "1", ("a",), tiles=2))["a", 1]
    assert layer.label.shape == (HEIGHT, WIDTH)
    assert layer.objects["train_id"].tolist() == [0, 10, 13, 13]
    claimed_columns = (layer.maps["object"] >= 0).any(axis=0)
    assert claimed_columns[: WIDTH // 2].any() and claimed_columns[WIDTH // 2 :].any()


def test_objects_that_vanish_at_the_models_size_are_not_tracked(root, capsys):
    label = np.array(Image.open(root / "a/label.png"))
    label[12:60, 20] = 17  # a pole of one column, which a model of half the resolution across cannot see
    Image.fromarray(label).save(root / "a/label.png")
    layer = layers(root, propagate(root, "1", ("a",)))["a", 1]
    assert "objects too small or thin to be tracked at 64 px: 1." in capsys.readouterr().err
    pole = layer.objects["train_id"].tolist().index(5)
    assert layer.objects["presence"][pole] == layer.objects["area"][pole] == 0
    assert not (layer.maps["object"] == pole).any()


def test_a_clip_without_objects_is_unclaimed(root):
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(root / "b/label.png")
    made = layers(root, propagate(root))
    assert (made["b", 3].label == 255).all() and (made["b", 0].label == 255).all()
    assert (made["a", 3].label != 255).any()


def test_an_absent_frame_is_named_before_anything_is_tracked(root, monkeypatch):
    monkeypatch.setattr(setup, "set_up", None)
    (root / "b/000005.png").unlink()
    with pytest.raises(UserError, match=r"b/000005\.png does not exist"):
        propagate(root)


def test_a_frame_cut_short_is_named_and_the_clip_before_it_is_kept(root):
    path = root / "b/000004.png"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"000004\.png is damaged"):
        propagate(root)
    (file,) = (root.parent / "results").rglob("*.h5")
    assert file.name.startswith("a-")


def test_instances_of_another_size_are_named(root):
    Image.fromarray(np.zeros((HEIGHT, WIDTH // 2), np.uint16)).save(root / "a/instances.png")
    with pytest.raises(UserError, match=r"a/instances\.png is 64x64 but its label a/label\.png is 128x64"):
        propagate(root, "1", ("a",))


def test_a_policy_keeps_what_is_noted_of_the_tracking(root):
    before = layers(root, propagate(root, "1", ("a",)))["a", 1]
    assert before.notes["device"] == "processor" and before.notes["precision"] == "float32"
    after = layers(root, propagate(root, "1", ("a",), min_presence=0.1))["a", 1]
    assert after.notes == before.notes


def test_memory_that_does_not_suffice_is_said(root, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine.FrameResult, "add", full)
    with pytest.raises(UserError, match="Memory does not suffice for 4 objects at a time"):
        propagate(root, "1", ("a",))


def test_settings_that_decide_nothing_make_nothing_due(tmp_path):
    torch.save({"model": build_model("small").state_dict()}, tmp_path / "own.pt")
    own = {"weights": str(tmp_path / "own.pt"), "config": "small"}

    def known_by(**changes):
        return build_propagator("sam2", own | changes, CLASSES, HERE).settings

    assert known_by() == known_by(seed=3) != known_by(least_area=9)
    assert known_by(objects="class") == known_by(objects="class", least_area=9, most_things=1)
    assert build_propagator("sam2", RANDOM, CLASSES).settings["seed"] == 1


def test_a_killed_decoder_is_a_sentence(root):
    part = FramePart(root / "a/000000.png", (HEIGHT, WIDTH), slice(0, 64), 32)
    with Reader(1) as reader:
        take = reader.ahead(dict.fromkeys(range(30), part))
        take(0)
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        with pytest.raises(UserError, match="A process that decodes frames was killed"):
            for n in range(1, 30):
                take(n)


def test_decoders_end_with_the_process_that_started_them(root, tmp_path):
    script = tmp_path / "main.py"
    script.write_text(f"""
import os, signal
from pathlib import Path
from fewframes.labelling.propagation.sam2.reading import FramePart, Reader

if __name__ == "__main__":
    part = FramePart(Path({str(root / "a/000000.png")!r}), ({HEIGHT}, {WIDTH}), slice(0, 64), 32)
    Reader(1).ahead({{0: part}})(0)
    os.kill(os.getpid(), signal.SIGKILL)
""")
    # It returns when nobody holds its output open any more.
    killed = subprocess.run([sys.executable, script], capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def test_what_is_not_finite_becomes_no_label_file(root, monkeypatch):
    step = engine.Tracker._follow

    def broken(self, bank, number, *rest):
        out = step(self, bank, number, *rest)
        out["pred_masks"][0, 0, 0, 0] = torch.nan if number == 2 else 0
        return out

    monkeypatch.setattr(engine.Tracker, "_follow", broken)
    with pytest.raises(UserError, match="not finite for a at offset 2: check the weights"):
        propagate(root, "3", ("a",))
    assert not list((root.parent / "results").rglob("*.h5"))


def test_one_frame_is_its_annotation(root):
    stills = [clip("a", frames="", first=0, last=0)]
    rows = propagate(root, "", stills)
    assert list(rows) == [("a", 0)]
    assert (read_label_layer(root.parent / "results" / rows["a", 0]["file"], 0) != 255).all()


@pytest.mark.parametrize(
    ("settings", "housekeeping", "message"),
    [
        ({"tiles": 0}, {}, "'tiles' of propagation 'sam2' is 0: give at least 1"),
        ({"tiles": 9}, {}, "'tiles' of propagation 'sam2' is 9: give at most 8"),
        ({"tile": 1}, {}, "'tile' is not a setting of propagation 'sam2'"),
        ({"min_confidence": 1.5}, {}, "'min_confidence' of propagation 'sam2' is 1.5: give a share from 0 to 1"),
        ({"max_jump": 0.5}, {}, "'max_jump' .* give a factor above 1, or 0 for none"),
        ({"precision": "half"}, {}, "choose one of auto, bfloat16, float32"),
        ({"objects": "things"}, {}, "'objects' .* choose one of panoptic, class, component"),
        ({"key_memory": "none"}, {}, "'key_memory' .* choose one of official, full"),
        ({"config": ""}, {}, "set propagation.sam2.config"),
        ({"weights": "sam2.1_hiera_tiny"}, {"weights_folder": "nowhere"}, "fewframes fetch sam2.1_hiera_tiny"),
        ({"weights": "sam_vit_b"}, {}, "weights of segment-anything, not of sam2"),
        ({}, {"device": "tpu"}, "'device' .* choose one of auto, cpu, cuda"),
        ({}, {"max_batch": -1}, "'max_batch' .* give at least 0"),
    ],
)
def test_settings_that_are_none_are_refused(root, settings, housekeeping, message):
    with pytest.raises(UserError, match=message):
        propagate(root, "1", ("a",), housekeeping, **settings)


def test_frames_are_read_by_processes_as_they_are_by_a_thread(root):
    paths = [root / f"a/{t:06d}.png" for t in range(7)]
    parts = {n: FramePart(path, (HEIGHT, WIDTH), slice(8, 72), 32) for n, path in enumerate(paths)}
    expected = {n: read_part(part) for n, part in parts.items()}
    for workers, order in ((0, range(7)), (1, [0, 3, 1, 2, 6, 5, 4])):
        with Reader(workers) as reader:
            take = reader.ahead(parts)
            for n in order:
                np.testing.assert_array_equal(take(n), expected[n])
    part = FramePart(paths[0], (HEIGHT, WIDTH - 1), slice(0, 8), 32)
    with Reader(1) as reader, pytest.raises(UserError, match="is 128x64 but its clip's annotation is 127x64"):
        reader.ahead({0: part})(0)


def test_jumps_count_from_the_key_frame_out_and_over_gaps():
    jumps = Jumps(np.array([0.1, 0.2, 0.3]), noise=0.0)
    assert jumps.largest(np.array([0.2, 0.2, 0.0])).tolist() == pytest.approx([2, 1, 1])
    assert jumps.largest(np.array([0.2, 0.1, 0.0])).tolist() == pytest.approx([2, 2, 1])
    assert jumps.largest(np.array([0.3, 0.1, 0.1])).tolist() == pytest.approx([2, 2, 3])
    small = Jumps(np.array([0.0001]), noise=0.001)
    assert small.largest(np.array([0.0005]))[0] < 1.4


def test_a_policy_leaves_out_what_it_doubts():
    index = np.array([[0, 0, 1, 2, -1]], np.int16)
    objects = {
        "train_id": np.array([4, 5, 6], np.uint8),
        "presence": np.array([0.9, 0.6, 0.9], np.float32),
        "jump": np.array([1.0, 1.2, 3.0], np.float32),
    }
    confidence = np.array([[10, 128, 255, 255, 0]], np.uint8)
    made = Propagated(np.zeros_like(confidence), {"object": index, "confidence": confidence}, objects)
    assert claimed(made, Policy()).tolist() == [[4, 4, 5, 6, 255]]
    assert claimed(made, Policy(min_confidence=0.5)).tolist() == [[255, 4, 5, 6, 255]]
    assert claimed(made, Policy(min_presence=0.7)).tolist() == [[4, 4, 255, 6, 255]]
    assert claimed(made, Policy(max_jump=2.0)).tolist() == [[4, 4, 5, 255, 255]]


@given(st.integers(1, 4000), st.integers(1, 4))
def test_tiles_are_equally_wide_and_cover_the_width(width, tiles):
    columns = tile_columns(width, tiles)
    assert len(columns) == tiles and len({c.stop - c.start for c in columns}) == 1
    assert columns[0].start == 0 and columns[-1].stop == width
    assert all(left.stop >= right.start for left, right in itertools.pairwise(columns))
    if width >= 64:
        assert tiles == 1 or all(a.stop - b.start >= width // 32 for a, b in itertools.pairwise(columns))


@given(st.integers(0, 2**32 - 1))
def test_stitching_a_frame_that_was_cut_gives_it_back(seed):
    rng = np.random.default_rng(seed)
    whole = Merged(rng.integers(-1, 4, (3, 40)).astype(np.int16), rng.integers(0, 256, (3, 40), dtype=np.uint8))
    columns = tile_columns(40, 2)
    numbers = [(0, 1, 2, 3), (3, 2, 1, 0)]  # the second tile numbers them the other way round
    turned = [np.array([*n, -1])[whole.index[:, c]].astype(np.int16) for n, c in zip(numbers, columns, strict=True)]
    parts = [Merged(t, whole.confidence[:, c]) for t, c in zip(turned, columns, strict=True)]
    again = stitched(parts, columns, numbers)
    np.testing.assert_array_equal(again.index, whole.index)
    np.testing.assert_array_equal(again.confidence[whole.index >= 0], whole.confidence[whole.index >= 0])


@given(st.integers(64, 4000), st.integers(1, 4))
def test_what_tiles_count_is_the_width_once(width, tiles):
    columns = tile_columns(width, tiles)
    spans = [
        (c.start + left * (c.stop - c.start), c.start + right * (c.stop - c.start))
        for c, (left, right) in ((c, own_share(columns, n)) for n, c in enumerate(columns))
    ]
    assert spans[0][0] == 0 and spans[-1][1] == pytest.approx(width)
    assert all(a[1] == pytest.approx(b[0]) for a, b in itertools.pairwise(spans))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(40, 90), (64, 64), (100, 30)]), st.sampled_from([16, 32, 64]))
def test_objects_that_vanish_are_told_as_by_resizing_each(seed, size, side):
    rng = np.random.default_rng(seed)
    index = np.full(size, -1, np.int16)
    for n in range(12):
        top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
        index[top : top + rng.integers(1, 20), left : left + rng.integers(1, 20)] = n
    objects = Objects(index, tuple(range(12)))
    masks = engine.squared_masks(objects, 0, 12, side, torch.device("cpu"))
    assert engine.seen_at(objects, side) == [n for n in range(12) if masks[n].any()]


def test_in_an_overlap_the_surer_tile_is_right():
    columns = [slice(0, 3), slice(1, 4)]
    left = Merged(np.array([[0, 0, 0]], np.int16), np.array([[9, 9, 9]], np.uint8))
    right = Merged(np.array([[0, -1, 0]], np.int16), np.array([[10, 200, 1]], np.uint8))
    whole = stitched([left, right], columns, [(0,), (1,)])
    assert whole.index.tolist() == [[0, 1, 0, 1]] and whole.confidence.tolist() == [[9, 10, 9, 1]]


def test_a_key_frame_knows_its_way_out():
    images = {o: Path(f"{o}.png") for o in (-4, -2, 0, 2, 4, 6)}
    key = KeyFrame("c", np.zeros((2, 2), np.uint8), None, images, frozenset({-2, 4}))
    assert key.outward(-1) == [-2] and key.outward(1) == [2, 4]


def test_every_second_frame_is_a_step(root):
    one = clip("a", step=2, first=-2, last=2)
    made = layers(root, propagate(root, "-2 2", [one]))
    assert {offset for _, offset in made} == {-2, 0, 2}
    propagator = build_propagator("sam2", RANDOM, CLASSES, HERE)
    assert propagator.random_weights and propagator.uses_instances
