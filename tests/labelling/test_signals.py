"""Signals without truth: labels carried back, what is kept of it, and the curve that the ignore policy is tuned on."""

import csv
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fewframes.core.clips import LABEL_COLUMNS, Clip, write_clips
from fewframes.core.errors import UserError
from fewframes.core.files import write_csv
from fewframes.core.labelfile import Layer, write_label_file
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.labelling import signals
from fewframes.labelling.policycurve import STEPS, count_by_confidence, suggestion, write_curve
from fewframes.labelling.propagation import Propagated, driver
from fewframes.labelling.propagation.onebyone import OneByOne
from fewframes.labelling.signals import SIGNALS, returns_of, write_signals

CLASSES = load_class_table("cityscapes")
ROAD, CAR = CLASSES.names.index("road"), CLASSES.names.index("car")
HEIGHT, WIDTH, LENGTH, TOP = 64, 160, 40, 24  # frame, and the car's length and height


def car_at(left):
    label = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
    label[20 : 20 + TOP, left : left + LENGTH] = CAR
    return label


def miou_of_shift(shift):
    """mIoU of a car's label that lies `shift` pixels beside it."""
    car, road = (LENGTH - shift) * TOP, HEIGHT * WIDTH - (LENGTH + shift) * TOP
    return (car / (car + 2 * shift * TOP) + road / (road + 2 * shift * TOP)) / 2


@pytest.fixture
def root(tmp_path):
    """A clip of nine frames: a textured car moves two pixels a frame over a textured road."""
    root = tmp_path / "data"
    (root / "truth").mkdir(parents=True)
    rng = np.random.default_rng(0)
    road, car = (rng.integers(low, low + 120, (HEIGHT, WIDTH, 3)).astype(np.uint8) for low in (0, 130))
    for number in range(9):
        left = 50 + 2 * number
        frame, label = road.copy(), car_at(left)
        frame[20 : 20 + TOP, left : left + LENGTH] = car[:TOP, :LENGTH]
        Image.fromarray(frame).save(root / f"{number:06d}.png")
        Image.fromarray(CLASSES.to_native_ids(label)).save(root / "truth" / f"{number:06d}.png")
    return root


def clip(**changes):
    facts = {"id": "c", "split": "train", "group": "g", "image": "000004.png", "frames": "{frame:06d}.png", "key": 4}
    facts |= {"first": -4, "last": 4, "fine": "truth/000004.png", "truth": "{frame:06d}.png"}
    return Clip(**{**facts, **changes})


def propagate(root, method="flow", offsets="-4 -3 -2 -1 1 2 3 4", clips=None):
    results, clips = root.parent / "results", clips or [clip()]
    write_clips(
        results / "shard.csv", clips, {"offsets": {c.id: offsets for c in clips}, "state": {c.id: "" for c in clips}}
    )
    out = results / "pseudo" / method / "0000.csv"
    driver.propagate_shard(results / "shard.csv", method, {}, root, CLASSES, results, out)
    return out


def measure(root, method="flow", labels=None, clips=None, truth=True, count=10):
    """The table of signals by (clip, offset), and the curve's rows."""
    results = root.parent / "results"
    files = {"out": results / "signals.csv", "curve": results / "curve.csv", "cache": results / "signals"}
    labels = labels or results / "pseudo" / method / "0000.csv"
    folder = root / "truth" if truth else None
    write_signals(method, {}, labels, clips or [clip()], root, folder, CLASSES, results, count, **files)
    rows, curve = (list(csv.DictReader(files[name].open(newline=""))) for name in ("out", "curve"))
    return {(row["clip"], int(row["offset"])): row for row in rows}, curve


class Fake(OneByOne):
    """A method for tests, without settings."""

    settings: ClassVar = {}

    def carry(self, label, frames):
        raise NotImplementedError


class Perfect(Fake):
    """Knows where the car is in every frame."""

    def propagate(self, keys):
        for position, key in enumerate(keys):
            for offset in sorted(key.wanted, key=abs):
                label = car_at(50 + 2 * int(key.images[offset].stem))
                yield position, offset, Propagated(label, {"confidence": np.full(label.shape, 255, np.uint8)})


class Drifting(Fake):
    """Moves what it carries a pixel to the right with every frame, whichever way it goes."""

    def carry(self, label, frames):
        next(frames)
        for _ in frames:
            label = np.roll(label, 1, axis=1)
            yield Propagated(label)


@pytest.fixture
def method(monkeypatch):
    """Have every name stand for one method of the tests'."""

    def build(propagator):
        for module in (driver, signals):
            monkeypatch.setattr(module, "build_propagator", lambda *_: propagator)

    return build


@pytest.fixture
def counting(monkeypatch):
    """From when it is called, count the key frames that a method is given."""
    given = []

    def start():
        build = signals.build_propagator

        def counted(*arguments):
            propagator = build(*arguments)
            propagate = propagator.propagate
            propagator.propagate = lambda keys: propagate(given.append(key.name) or key for key in keys)
            return propagator

        monkeypatch.setattr(signals, "build_propagator", counted)
        return given

    return start


def test_a_perfect_methods_labels_return_as_they_were(root, method):
    method(Perfect())
    propagate(root)
    rows, curve = measure(root)
    assert sorted(offset for _, offset in rows) == [-4, -3, -2, -1, 1, 2, 3, 4]
    for (_, offset), row in rows.items():
        assert row["coverage"] == row["confidence"] == row["iou"] == "1.0000"
        assert row["cycle"] == ("" if abs(offset) == 3 else "1.0000")
        assert row["agreement"] == ("" if abs(offset) == 4 else "1.0000")
        assert row["presence"] == row["steadiness"] == ""
    assert {row["accuracy"] for row in curve} == {"1.0000"}


def test_copying_returns_to_the_annotation_however_wrong_it_is(root):
    """Its cycle and agreement are 1 by construction: they flatter it, as its true mIoU shows."""
    propagate(root, "copy")
    rows, curve = measure(root, "copy")
    for (_, offset), row in rows.items():
        assert row["cycle"] in ("1.0000", "") and row["agreement"] in ("1.0000", "")
        assert float(row["iou"]) == pytest.approx(miou_of_shift(2 * abs(offset)), abs=1e-4)
    assert curve == []


def test_a_drift_shows_in_cycle_and_agreement(root, method):
    method(Drifting())
    propagate(root)
    rows, _ = measure(root)
    for t in (1, 2, 4):
        # Out and back, t pixels each time, both to the right.
        assert float(rows["c", t]["cycle"]) == pytest.approx(miou_of_shift(2 * t), abs=1e-4)
    for o in (1, 2, 3):
        # Carried out the label is o pixels to the right, carried back 4 + (4 - o): they differ at both edges.
        apart = 2 * (8 - 2 * o) * TOP
        assert float(rows["c", o]["agreement"]) == pytest.approx(1 - apart / (HEIGHT * WIDTH), abs=1e-4)


def test_flow_returns_with_its_object(root):
    propagate(root)
    rows, curve = measure(root)
    assert all(float(row["cycle"]) > 0.97 for row in rows.values() if row["cycle"])
    assert all(float(row["agreement"]) > 0.97 for row in rows.values() if row["agreement"])
    assert all(0 < float(row["confidence"]) < float(row["coverage"]) < 1 for row in rows.values())
    assert [row["source"] for row in curve] == ["cycle"] * STEPS + ["truth"] * STEPS
    for source in ("cycle", "truth"):
        shares = [float(row["coverage"]) for row in curve if row["source"] == source]
        assert shares == sorted(shares, reverse=True) and 0.5 < shares[-1] < shares[0] < 1


def test_without_truth_there_is_no_iou_and_no_curve_of_it(root):
    propagate(root)
    rows, curve = measure(root, truth=False)
    assert {row["iou"] for row in rows.values()} == {""}
    assert rows["c", 4]["cycle"] and {row["source"] for row in curve} == {"cycle"}
    assert measure(root)[0]["c", 4]["iou"]  # and with it, it is not taken for what was kept without


def test_only_frames_with_a_truth_file_have_an_iou(root):
    propagate(root)
    (root / "truth" / "000007.png").unlink()
    rows, _ = measure(root)
    assert {offset for (_, offset), row in rows.items() if not row["iou"]} == {3}


def test_a_second_time_nothing_is_carried_back(root, counting, capsys):
    clips = [clip(), clip(id="d", key=3, image="000003.png", fine="truth/000003.png", first=-3)]
    labels = propagate(root, offsets="-3 -2 3", clips=clips)
    first = measure(root, clips=clips, labels=labels)
    given = counting()
    assert measure(root, clips=clips, labels=labels) == first
    assert given == [] and "0 clips carried back, 2 found" in capsys.readouterr().err

    Image.fromarray(255 - np.array(Image.open(root / "000000.png"))).save(root / "000000.png")
    labels = propagate(root, offsets="-3 -2 3", clips=clips)
    measure(root, clips=clips, labels=labels)
    assert given == ["d back from -2", "d back from -3", "d back from +3"]  # the frame is no other clip's

    (kept,) = (root.parent / "results" / "signals").glob("c-*.json")
    kept.write_text(kept.read_text()[:-9])
    given.clear()
    measure(root, clips=clips, labels=labels)
    assert given == ["c back from -2", "c back from -3", "c back from +3"]


def test_a_changed_truth_is_seen(root):
    propagate(root, "copy")
    before, _ = measure(root, "copy")
    Image.fromarray(CLASSES.to_native_ids(car_at(58))).save(root / "truth" / "000008.png")
    after, _ = measure(root, "copy")
    assert {o for o in before if before[o] != after[o]} == {("c", 4)}
    assert after["c", 4]["iou"] == "1.0000"


def test_training_clips_are_chosen_by_a_hash_of_their_ids(root):
    clips = [clip(id=f"c{n}") for n in range(6)] + [clip(id="val", split="val"), clip(id="unlabelled")]
    labels = propagate(root, "copy", "4", [c for c in clips if c.id != "unlabelled"])
    few, more = ({id_ for id_, _ in measure(root, "copy", labels, clips, count=n)[0]} for n in (2, 4))
    assert len(few) == 2 and len(more) == 4 and few < more
    without = [c for c in clips if c.id != min(few)]
    assert few - {min(few)} < {id_ for id_, _ in measure(root, "copy", labels, without, count=2)[0]}
    assert {id_ for id_, _ in measure(root, "copy", labels, clips)[0]} == {f"c{n}" for n in range(6)}


def test_what_cannot_be_measured_is_named(root, capsys):
    labels = propagate(root, "copy")
    assert measure(root, "copy", labels, [clip(split="val")]) == ({}, [])
    assert "no clip of split 'train' has labels" in capsys.readouterr().err
    Image.new("L", (80, 32), 7).save(root / "truth" / "000008.png")
    with pytest.raises(UserError, match=r"000008\.png is 80x32 but its clip's labels are 160x64"):
        measure(root, "copy", labels)


def test_labels_are_carried_back_from_a_quarter_half_and_all_of_the_way():
    assert returns_of([-10, *range(1, 11)]) == {
        -10: frozenset({0}),
        2: frozenset({0}),  # 2 and 3 are as near to 2.5
        5: frozenset({0}),
        10: frozenset(range(10)),
    }
    assert returns_of([-6, -3]) == {-3: frozenset({0}), -6: frozenset({0, -3})}


class Objects(Fake):
    """Stands still, remembers what it was given, and returns objects as a tracker does, the left half unclaimed."""

    def __init__(self):
        self.keys = []

    def propagate(self, keys):
        for position, key in enumerate(keys):
            self.keys.append(key)
            for offset in key.wanted:
                label = key.label.copy()
                label[:, : WIDTH // 2] = IGNORE  # what a policy leaves unclaimed
                number = np.where(key.label == CAR, 1, 0).astype(np.int16)
                confidence = np.where(label == IGNORE, 60, 255).astype(np.uint8)
                table = {"train_id": np.array([ROAD, CAR], np.uint8)}
                yield position, offset, Propagated(label, {"object": number, "confidence": confidence}, table)


def test_objects_are_sent_back_as_the_best_guess_has_them(root, method):
    tracker = Objects()
    method(tracker)
    results = root.parent / "results"
    objects = np.full((HEIGHT, WIDTH), -1, np.int16)
    objects[:, 40:] = 0
    objects[20:44, 60:100] = 1
    claimed = np.where(objects == 1, CAR, IGNORE).astype(np.uint8)  # the policy leaves the road unclaimed
    confidence = np.where(objects == 1, 255, 51).astype(np.uint8)

    def layer(area, presence, jump):
        columns = {"train_id": np.array([ROAD, CAR], np.uint8), "area": np.array(area, np.float32)}
        columns |= {"presence": np.array(presence, np.float32), "jump": np.array(jump, np.float32)}
        return Layer(claimed, "f", {"object": objects, "confidence": confidence}, columns)

    layers = {0: Layer(car_at(58), "f"), 1: layer((0.6, 0.2), (1, 1), (1, 1)), 4: layer((0.6, 0), (1, 0), (2, np.inf))}
    write_label_file(results / "c.h5", layers, {})
    labels = results / "labels.csv"
    write_csv(labels, LABEL_COLUMNS, [("c", o, "c.h5", "f", "k") for o in layers])
    rows, curve = measure(root, labels=labels)

    assert [(key.name, sorted(key.wanted)) for key in tracker.keys] == [
        ("c back from +1", [-1]),
        ("c back from +4", [-4, -3]),
    ]
    key = tracker.keys[1]
    assert sorted(key.images) == [-4, -3, -2, -1, 0]
    assert key.images[0].name == "000008.png" and key.images[-4].name == "000004.png"
    assert np.array_equal(key.label, np.where(objects == 0, ROAD, np.where(objects == 1, CAR, IGNORE)))
    assert np.array_equal(np.unique(key.instances), [0, 1000, 1001])
    assert (key.instances[objects == 1] == 1001).all() and (key.instances[objects < 0] == 0).all()

    near, far = rows["c", 1], rows["c", 4]
    assert (near["presence"], near["steadiness"]) == ("1.0000", "1.0000")
    # The car is lost and has no area any more: it counts by the area it had.
    assert far["presence"] == "0.7500" and far["steadiness"] == f"{0.75 / 2:.4f}"
    # What the policy leaves out counts: the road's confidence is a fifth.
    there, car = (objects >= 0).mean(), (objects == 1).mean()
    assert far["coverage"] == f"{there:.4f}" and far["confidence"] == f"{car + (there - car) / 5:.4f}"
    assert float(near["cycle"]) == pytest.approx(_cycle(np.where(key.label == CAR, CAR, ROAD)), abs=1e-4)
    sure = [row for row in curve if row["source"] == "cycle"]
    right = {limit: float(row["right_here"] or "nan") for limit, row in zip(range(STEPS), sure, strict=True)}
    assert float(sure[0]["coverage"]) == 1 and float(sure[5]["coverage"]) == 0.5
    assert [limit for limit in right if not np.isnan(right[limit])] == [4, STEPS - 1]


def _cycle(label):
    """mIoU of a label against the annotation."""
    there = car_at(58)
    return np.mean([((label == c) & (there == c)).sum() / ((label == c) | (there == c)).sum() for c in (ROAD, CAR)])


def tiny_counts():
    """Ten pixels, one of them ignored, one unclaimed."""
    truth = np.array([[0, 0, 0, 0, 1, 1, 1, 1, 1, IGNORE]], np.uint8)
    label = np.array([[0, 0, 1, 1, 1, 1, 0, 1, IGNORE, 1]], np.uint8)
    confidence = np.array([[255, 255, 255, 128, 200, 128, 128, 50, 0, 255]], np.uint8)
    return count_by_confidence(truth, label, confidence, 2)


def test_the_curve_against_a_hand_computation(tmp_path, capsys):
    counts = tiny_counts()
    assert counts.shape == (STEPS, 2, 3) and counts.sum() == 9
    write_curve("m", {"cycle": counts}, tmp_path / "curve.csv")
    rows = {row["min_confidence"]: row for row in csv.DictReader((tmp_path / "curve.csv").open())}
    assert len(rows) == STEPS
    # 50 / 255 is just below 0.2, 128 / 255 just above 0.5, 200 / 255 above 0.75.
    expected = {
        "0.00": (8 / 9, 5 / 8, (2 / 5 + 3 / 6) / 2, None),
        "0.15": (8 / 9, 5 / 8, (2 / 5 + 3 / 6) / 2, 1),
        "0.20": (7 / 9, 4 / 7, (2 / 5 + 2 / 5) / 2, None),
        "0.50": (7 / 9, 4 / 7, (2 / 5 + 2 / 5) / 2, 1 / 3),
        "0.55": (4 / 9, 3 / 4, (2 / 3 + 1 / 2) / 2, None),
        "0.75": (4 / 9, 3 / 4, (2 / 3 + 1 / 2) / 2, 1),
        "0.95": (3 / 9, 2 / 3, (2 / 3 + 0 / 1) / 2, 2 / 3),
    }
    for limit, values in expected.items():
        found = [rows[limit][column] for column in ("coverage", "accuracy", "miou", "right_here")]
        assert found == ["" if value is None else f"{value:.4f}" for value in values], limit
    assert "signals m: min_confidence by cycle: 0.55 (claims 44.4% of the pixels, of which 75.0% are right)." in (
        capsys.readouterr().err
    )


def test_a_limit_is_suggested_only_where_it_helps():
    label = np.zeros((1, 4), np.uint8)
    right, wrong = label, np.ones((1, 4), np.uint8)
    sure = np.full((1, 4), 255, np.uint8)
    assert suggestion(count_by_confidence(right, label, sure, 2)).startswith(
        "min_confidence by cycle: 0, nothing to leave unclaimed (claims 100.0%"
    )
    assert suggestion(count_by_confidence(wrong, label, sure, 2)).endswith("no min_confidence helps")
    lost = np.full_like(label, IGNORE)
    assert suggestion(count_by_confidence(right, lost, sure, 2)).startswith("nothing returns to the key frame")


@given(
    arrays(np.uint8, (12, 3), elements=st.sampled_from([0, 1, 2, IGNORE])),
    arrays(np.uint8, 12, elements=st.integers(0, 255)),
)
def test_a_higher_limit_claims_no_more(tmp_path_factory, pixels, confidence):
    truth, label, _ = pixels.T
    counts = count_by_confidence(truth, label, confidence, 3)
    path = tmp_path_factory.mktemp("curve") / "curve.csv"
    write_curve("m", {"truth": counts}, path)
    rows = list(csv.DictReader(path.open()))
    valid = truth != IGNORE
    shares = [float(row["coverage"] or 0) for row in rows]
    assert shares == sorted(shares, reverse=True)
    for row in rows:
        claimed = valid & (label != IGNORE) & (confidence >= 255 * float(row["min_confidence"]) - 1e-9)
        assert float(row["coverage"] or 0) == pytest.approx(claimed.sum() / max(1, valid.sum()), abs=1e-4)
        assert row["accuracy"] == (f"{(label == truth)[claimed].mean():.4f}" if claimed.any() else "")


def test_the_signals_have_a_column_each(root):
    propagate(root, "copy", "1")
    measure(root, "copy")
    header = (root.parent / "results" / "signals.csv").read_text().splitlines()[0]
    assert header == ",".join(("method", "clip", "offset", *SIGNALS, "iou"))
    assert (root.parent / "results" / "curve.csv").read_text().splitlines() == [
        "method,source,min_confidence,coverage,accuracy,miou,right_here"
    ]
