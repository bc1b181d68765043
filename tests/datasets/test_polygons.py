"""Polygons to pictures: against cityscapesScripts itself, against a plain IDD loop, and with damaged annotations."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.core.images import read_instances, read_label
from fewframes.core.labels import load_class_table
from fewframes.datasets.polygons import polygon_task
from fewframes.datasets.preparing import Ledger, prepare
from fewframes.datasets.toycity import ToyCitySettings, write_toycity

ROOT = Path(__file__).parents[2]
CITYSCAPES = load_class_table("cityscapes")
IDD = load_class_table("idd")

# IDD's things by the ids they are drawn with, and the level-3 ids that number them (helpers/anue_labels.py).
IDD_THINGS = {
    "person": (6, 4), "animal": (7, 4), "rider": (8, 5), "motorcycle": (9, 6), "bicycle": (10, 7),
    "autorickshaw": (11, 8), "car": (12, 9), "truck": (13, 10), "bus": (14, 11), "caravan": (15, 12),
    "trailer": (16, 12), "train": (17, 12), "vehicle fallback": (18, 12),
}  # fmt: skip
SQUARE = [[1, 1], [6, 1], [6, 6], [1, 6]]


def thing(label, polygon=SQUARE, **more):
    return {"label": label, "polygon": polygon, **more}


def write(folder, objects, height=8, width=10, name="a"):
    path = folder / f"{name}_polygons.json"
    path.write_text(json.dumps({"imgHeight": height, "imgWidth": width, "objects": objects}))
    return path


def draw(path, layout="cityscapes", classes=None, prepared=None):
    """The facts, the label and the instances."""
    stem = path.name.removesuffix("_polygons.json")
    classes = classes or {"cityscapes": CITYSCAPES, "idd": IDD}[layout]
    task = polygon_task(path.name, f"out/{stem}_labelIds.png", f"out/{stem}_instanceIds.png", layout, classes)
    prepared = prepared or path.parent
    facts = task.make(task, path.parent, prepared)
    label, instances = (prepared / output for output in task.outputs)
    assert Image.open(label).mode == "L" and Image.open(instances).mode.startswith("I;16")
    return facts, read_label(label), read_instances(instances)


def random_objects(rng, names, count, size, fewest):
    """Everything an annotation can hold: overlapping, off the image, tiny, crossing itself, of whole or part pixels."""
    objects = []
    for _ in range(count):
        corners = int(rng.choice([fewest, 3, 4, 5, 9, 40]))
        reach = rng.choice([1.5, 8, 60, 400, 5e4, 9e8], p=[0.1, 0.3, 0.3, 0.2, 0.05, 0.05])
        points = rng.uniform(-0.3, 1.3, 2) * size + rng.uniform(-reach, reach, (corners, 2))
        if rng.random() < 0.5:
            points = np.round(points).astype(int)
        name = str(rng.choice(names)) + ("group" if rng.random() < 0.1 else "")
        objects.append(thing(name, points.tolist(), deleted=int(rng.random() < 0.1)))
    return objects


@pytest.fixture(scope="module")
def reference():
    """The interpreter that has cityscapesScripts."""
    named = os.environ.get("FEWFRAMES_CROSSCHECK_PYTHON")
    here = named or str(ROOT / ".venv-crosscheck/bin/python")
    if not Path(here).is_file():
        assert not named, f"FEWFRAMES_CROSSCHECK_PYTHON names {named}, which does not exist"
        pytest.skip(f"{here} does not exist: install envs/crosscheck.lock in .venv-crosscheck to compare with it")
    return here


def equal_to_reference(interpreter, folder, drawn):
    """Draw a folder's annotations both ways and compare them; returns how many there are."""
    theirs = folder / "theirs"
    theirs.mkdir()
    script = ROOT / "tests/crosscheck/reference.py"
    subprocess.run([interpreter, script, folder, theirs], check=True, timeout=300)
    paths = sorted(folder.glob("*_polygons.json"))
    for path in paths:
        stem = path.name.removesuffix("_polygons.json")
        _, label, instances = draw(path, prepared=drawn)
        with Image.open(theirs / f"{stem}_labelIds.png") as png:
            assert np.array_equal(label, np.asarray(png)), path
        with Image.open(theirs / f"{stem}_instanceIds.png") as png:
            assert np.array_equal(instances, np.asarray(png)), path
    return len(paths)


def test_equals_cityscapesscripts_on_random_annotations(reference, tmp_path):
    names = [c.name for c in CITYSCAPES.classes]
    for seed in range(60):
        rng = np.random.default_rng(seed)
        # The last ones have more polygons than 8-bit ordinals.
        count = int(rng.integers(0, 80)) if seed < 55 else 500
        size = rng.integers(1, 300, 2)
        write(tmp_path, random_objects(rng, names, count, size, 2), int(size[1]), int(size[0]), f"{seed:03d}")
    assert equal_to_reference(reference, tmp_path, tmp_path / "ours") == 60


@pytest.fixture(scope="module")
def toycity(tmp_path_factory):
    root = tmp_path_factory.mktemp("toycity") / "city"
    write_toycity(root, ToyCitySettings(train=2, val=1, train_extra=3, height=64, width=128, seed=5))
    return sorted(root.glob("gt*/*/*/*_polygons.json"))


def test_equals_cityscapesscripts_on_toy_city(reference, toycity, tmp_path):
    for path in toycity:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert equal_to_reference(reference, tmp_path, tmp_path / "ours") == len(toycity) >= 9


def test_equals_what_toy_city_ships(toycity, tmp_path):
    for path in toycity:
        facts, label, instances = draw(path, prepared=tmp_path)
        shipped = path.with_name(path.name.replace("polygons.json", "labelIds.png"))
        assert np.array_equal(label, read_label(shipped))
        assert np.array_equal(instances, read_instances(Path(str(shipped).replace("labelIds", "instanceIds"))))
        assert (facts["height"], facts["width"], facts["unknown"]) == (64, 128, {})


def plain_idd(objects, height, width):
    """IDD's two pictures by its tool's rules, one polygon after the other."""
    ids = {c.name: c.id for c in IDD.classes}
    pictures = [Image.new("I", (width, height), 35) for _ in range(2)]
    seen = dict.fromkeys(range(26), 0)
    for item in objects:
        label, corners = item["label"], [tuple(p) for p in item["polygon"]]
        crowd = label not in ids and label.endswith("group")
        name = label[:-5] if crowd else label
        if item.get("deleted") or len(corners) < 2 or name not in ids:
            continue
        value = ids[name]
        if name in IDD_THINGS and not crowd:
            base, counter = IDD_THINGS[name]
            value = base * 1000 + seen[counter]
            seen[counter] += 1
        ImageDraw.Draw(pictures[1]).polygon(corners, fill=value)
        if len(corners) >= 3:
            ImageDraw.Draw(pictures[0]).polygon(corners, fill=ids[name])
    return [np.asarray(picture) for picture in pictures]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), fewest=st.integers(0, 3), size=st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_equals_a_plain_idd_loop(tmp_path, seed, fewest, size):
    rng = np.random.default_rng(seed)
    names = [*(c.name for c in IDD.classes), "cow", "carriage"]
    objects = random_objects(rng, names, int(rng.integers(0, 60)), size, fewest)
    facts, label, instances = draw(write(tmp_path, objects, size[1], size[0]), "idd")
    for ours, plain in zip((label, instances), plain_idd(objects, size[1], size[0]), strict=True):
        assert np.array_equal(ours, plain)
    assert facts["dropped"].get("deleted", 0) == sum(o["deleted"] for o in objects)
    assert facts["dropped"].get("unknown label", 0) == sum(facts["unknown"].values())


def test_cityscapes_numbers_things_per_class_and_not_crowds(tmp_path):
    boxes = [[[x, 0], [x + 1, 0], [x + 1, 7], [x, 7]] for x in range(0, 10, 2)]
    names = ("car", "cargroup", "person", "car", "license plate")
    objects = [thing("road", [[0, 0], [9, 0], [9, 7], [0, 7]]), *map(thing, names, boxes)]
    facts, label, instances = draw(write(tmp_path, objects))
    assert label[0, ::2].tolist() == [26, 26, 24, 26, 7]
    assert instances[0, ::2].tolist() == [26000, 26, 24000, 26001, 7]
    assert facts == {"height": 8, "width": 10, "dropped": {"negative id": 1}, "unknown": {}}


def test_idd_numbers_things_per_level_3_whatever_the_table(tmp_path):
    boxes = [[[x, 0], [x + 1, 0], [x + 1, 7], [x, 7]] for x in range(0, 10, 2)]
    path = write(tmp_path, list(map(thing, ("person", "animal", "caravan", "train", "cow"), boxes)))
    for table in ("idd", "idd-cityscapes"):
        facts, label, instances = draw(path, "idd", load_class_table(table))
        assert label[0, ::2].tolist() == [6, 7, 15, 17, 35]
        assert instances[0, ::2].tolist() == [6000, 7001, 15000, 17001, 35]
        assert facts["unknown"] == {"cow": 1} and facts["dropped"] == {"unknown label": 1}


def test_two_points_are_a_line_in_cityscapes_and_only_in_idd_s_instances(tmp_path):
    path = write(tmp_path, [thing("road"), thing("car", [[2, 3], [5, 3]])])
    facts, label, instances = draw(path)
    assert (label == 26).sum() == (instances == 26000).sum() == 4 and facts["dropped"] == {}
    facts, label, instances = draw(path, "idd")
    assert (label == 12).sum() == 0 and label[3, 3] == 0 and (instances == 12000).sum() == 4
    assert facts["dropped"] == {"two points: a line in the instances only": 1}


@pytest.mark.parametrize("layout", ["cityscapes", "idd"])
def test_what_is_not_drawn_is_counted_by_reason(tmp_path, layout):
    away = [[[x + 200, y] for x, y in SQUARE], [[x, y - 200.5] for x, y in SQUARE]]
    objects = [
        *(thing("car", polygon) for polygon in ([], [[3, 3]], *away)),
        thing("sky", deleted=1),
        thing("nonsense", "nonsense", deleted=1),
        thing("car"),
    ]
    facts, label, instances = draw(write(tmp_path, objects), layout)
    assert facts["dropped"] == {"fewer than two points": 2, "outside the image": 2, "deleted": 2}
    car = {"cityscapes": 26, "idd": 12}[layout]
    # What lies outside has its number all the same, as in the public tools.
    assert (label == car).sum() == (instances == car * 1000 + 2).sum() == 36


def test_an_unknown_label_of_cityscapes_is_refused_by_name(tmp_path):
    path = write(tmp_path, [thing("car"), thing("zebra crossing")])
    with pytest.raises(UserError, match=r"a_polygons.json: object 1 \('zebra crossing'\)"):
        draw(path)
    assert not (tmp_path / "out").exists()


def test_half_a_character_in_an_unknown_label_can_be_noted(tmp_path):
    path = tmp_path / "a_polygons.json"
    path.write_text('{"imgHeight": 4, "imgWidth": 4, "objects": [{"label": "\\ud800\\n", "polygon": []}]}')
    task = polygon_task(path.name, "l.png", "i.png", "idd", IDD)
    prepare([task], tmp_path, tmp_path / "p", ContentHashes(tmp_path / "h", "test"))
    assert Ledger(tmp_path / "p").facts(path.name)["unknown"] == {"\\ud800\n": 1}


GOOD = json.dumps({"imgHeight": 8, "imgWidth": 10, "objects": [thing("car")]})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        (GOOD[:-9], "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        (b"\xff\xfe\x00{", "not readable JSON"),
        ("[]", "no annotation"),
        ('{"imgHeight": 8, "imgWidth": 10}', "no annotation"),
        (GOOD.replace("imgHeight", "height"), "'imgHeight' is None"),
        (GOOD.replace("10", "-10"), "'imgWidth' is -10"),
        (GOOD.replace("10", '"10"'), "'imgWidth' is '10'"),
        (GOOD.replace("10", "1e1"), "'imgWidth' is 10.0"),
        (GOOD.replace("8", "70000").replace("10", "70000"), "70000x70000"),
        (GOOD.replace("8", "1").replace("10", "1000001"), "1000001x1 pixels"),
        (GOOD.replace('"car"', "7"), r"object 0 \(7\) has no label"),
        (GOOD.replace('"polygon"', '"points"'), "has no polygon"),
        (GOOD.replace("[1, 1]", "[NaN, 1]"), "not a number"),
        (GOOD.replace("[1, 1]", "[1, -Infinity]"), "not a number"),
        (GOOD.replace("[1, 1]", "[2e9, 1]"), "beyond"),
        (GOOD.replace("[1, 1]", f"[{-(2**63)}, 1]"), "beyond"),
        (GOOD.replace("[1, 1]", f"[{10**400}, 1]"), r"\[x, y\]"),
        (GOOD.replace("[1, 1]", '["1", 1]'), r"\[x, y\]"),
        (GOOD.replace("[1, 1]", "[null, 1]"), r"\[x, y\]"),
        (GOOD.replace("[1, 1]", "[1]"), r"\[x, y\]"),
        (GOOD.replace("[1, 1]", "1"), r"\[x, y\]"),
        (GOOD.replace(json.dumps(SQUARE), "[[1, 1, 1]]"), r"\[x, y\]"),
        ('{"imgHeight": 8, "imgWidth": 10, "objects": [3]}', "object 0 is 3"),
    ],
    ids=lambda value: repr(value)[-40:],
)
def test_a_damaged_annotation_is_named(tmp_path, text, says):
    path = tmp_path / "a_polygons.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=f"a_polygons.json.*{says}"):
        draw(path)
    assert not (tmp_path / "out").exists()


NUMBERS = st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=2), st.booleans())
VALUES = st.recursive(NUMBERS, lambda v: st.one_of(st.lists(v, max_size=4), st.dictionaries(st.text(max_size=2), v)))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(label=st.one_of(st.just("car"), VALUES), polygon=st.one_of(st.lists(st.lists(NUMBERS, max_size=3)), VALUES))
def test_any_values_end_in_a_picture_or_in_one_sentence(tmp_path, label, polygon):
    path = write(tmp_path, [{"label": label, "polygon": polygon}])
    try:
        facts, *_ = draw(path, "idd")
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert facts["height"] == 8


def test_coordinates_far_outside_are_drawn_where_they_cross_the_image(tmp_path):
    far = [[-1e9, 4], [1e9, 4], [1e9, 1e9], [-1e9, 1e9]]
    _, label, _ = draw(write(tmp_path, [thing("road", far)]))
    assert label[:, 0].tolist() == [0, 0, 0, 0, 7, 7, 7, 7] and (label == label[:, :1]).all()


def test_too_many_are_refused(tmp_path):
    with pytest.raises(UserError, match="more than the 1000th of its kind"):
        draw(write(tmp_path, [thing("car")] * 1001))
    assert draw(write(tmp_path, [thing("car")] * 1000))[2].max() == 26999
    with pytest.raises(UserError, match="65536 polygons"):
        draw(write(tmp_path, [thing("sky")] * 65536))


def test_a_table_that_polygons_cannot_use_is_refused(tmp_path):
    with pytest.raises(UserError, match="'camvid' has no class 'unlabeled'"):
        polygon_task("a", "b", "c", "cityscapes", load_class_table("camvid"))
    table = tmp_path / "own.yaml"
    table.write_text(
        "minutes: {fine: 1}\noffsets: [0, 0]\nclasses:\n"
        "  - {name: unlabeled, id: 0, rgb: [0, 0, 0]}\n"
        "  - {name: boat, id: 65, train_id: 0, instances: true, rgb: [1, 1, 1]}\n"
    )
    with pytest.raises(UserError, match="'boat' has instances and an id above 64"):
        polygon_task("a", "b", "c", "cityscapes", load_class_table(table))


def test_prepare_draws_in_two_processes_what_one_draws_and_names_the_faulty(tmp_path, capsys):
    rng = np.random.default_rng(3)
    names = [c.name for c in IDD.classes]
    tasks = []
    for i in range(17):
        path = write(tmp_path, random_objects(rng, names, 20, (50, 40), 3), 40, 50, f"{i:02d}")
        tasks.append(polygon_task(path.name, f"{i}_l.png", f"{i}_i.png", "idd", IDD))
    hashes = ContentHashes(tmp_path / "hashes", "test")
    for workers in (1, 2):
        prepare(tasks, tmp_path, tmp_path / f"by{workers}", hashes, workers)
    files = sorted(path.name for path in (tmp_path / "by1").iterdir())
    assert len(files) == 2 * 17 + 1
    for name in files:
        assert (tmp_path / "by1" / name).read_bytes() == (tmp_path / "by2" / name).read_bytes()

    (tmp_path / "03_polygons.json").write_text("")
    write(tmp_path, [], name="04")
    with pytest.raises(UserError, match=r"1 of 17 .*03_polygons.json.*it is empty"):
        prepare(tasks, tmp_path, tmp_path / "by1", ContentHashes(tmp_path / "hashes", "again"))
    assert "prepared 1, found 15 as they were, 1 faulty" in capsys.readouterr().err
    assert (read_label(tmp_path / "by1/4_l.png") == 35).all()
