import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE, load_class_table

CITYSCAPES = load_class_table("cityscapes")
NATIVE = sorted(c.id for c in CITYSCAPES.classes if c.id >= 0)


def test_cityscapes_has_the_nineteen_classes_in_order():
    assert CITYSCAPES.names == (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    )  # fmt: skip
    assert [c.name for c in CITYSCAPES.classes if c.has_instances and c.train_id != IGNORE] == [
        "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ]  # fmt: skip
    assert CITYSCAPES.minutes == {"fine": 90, "coarse": 7}


def test_refined_classes_are_the_papers_eight():
    assert [CITYSCAPES.names[i] for i in CITYSCAPES.refined_train_ids] == [
        "pole", "traffic light", "traffic sign", "person", "rider", "car", "motorcycle", "bicycle",
    ]  # fmt: skip


@given(arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.sampled_from(NATIVE)))
def test_ids_go_to_train_ids_as_the_table_says(native):
    train = CITYSCAPES.to_train_ids(native, "x.png")
    table = {c.id: c.train_id for c in CITYSCAPES.classes}
    assert train.dtype == np.uint8
    assert train.tolist() == [[table[i] for i in row] for row in native.tolist()]


def test_an_unknown_id_names_the_file_and_the_id():
    with pytest.raises(UserError, match=r"here\.png.*\[77\]"):
        CITYSCAPES.to_train_ids(np.full((2, 2), 77, np.uint8), "here.png")


def test_colour_paints_train_ids():
    assert CITYSCAPES.colour(np.array([[0, IGNORE]], np.uint8)).tolist() == [[[128, 64, 128], [0, 0, 0]]]


GOOD = """
minutes: {fine: 1}
offsets: [-1, 2]
classes:
  - {name: road, id: 7, train_id: 0, rgb: [1, 1, 1]}
  - {name: car, id: 8, train_id: 1, rgb: [2, 2, 2], instances: true}
  - {name: none, id: 0, rgb: [0, 0, 0]}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GOOD, "classes: [", r"mine\.yaml is no readable YAML \(while parsing"),
        (GOOD, "classes: road", "a class table"),
        ("minutes:", "minuets:", "'minuets' is no key here: did you mean 'minutes'"),
        ("{fine: 1}", "{fine: -1}", "'minutes' must map"),
        ("{fine: 1}", "{fine: ten}", "'minutes' must map"),
        ("[-1, 2]", "[1, 2]", r"'offsets' is \[1, 2\]"),
        ("[-1, 2]", "2", "'offsets' is 2"),
        ("train_id: 1", "trainid: 1", "class 'car': 'trainid' is no key here: did you mean 'train_id'"),
        ("train_id: 1", "train_id: 2", "without gaps"),
        ("id: 8,", "id: 8.5,", "class 'car': 'id' is 8.5"),
        ("id: 8,", "id: 255,", "class 'car' is evaluated, so its id must be 0 to 254"),
        ("id: 8,", "id: -1,", "class 'car' is evaluated, so its id"),
        ("id: 8,", "id: 7,", "two classes have the same id 7"),
        ("name: car", "name: road", "two classes have the same name 'road'"),
        ("[2, 2, 2]", "[2, 2, 300]", r"class 'car': 'rgb' is \[2, 2, 300\]"),
        ("[2, 2, 2], ", "[2, 2], ", r"'rgb' is \[2, 2\]"),
        ("instances: true", "instances: 1", "'instances' must be true or false"),
        ("offsets", "refined: [cars]\noffsets", r"'refined' names \['cars'\]"),
        ("offsets", "refined: car\noffsets", "'refined' must be a list"),
        ("offsets", "void: road\noffsets", "'void' is 'road', which is no ignored class"),
        ("offsets", "groups: {area: [road]}\noffsets", "'groups' must map a level's name"),
        ("offsets", "groups: {area: {flat: [road]}}\noffsets", r"'groups\.area' must have every .* see to \['car'\]"),
        ("offsets", "groups: {area: {a: [road, car], b: [car]}}\noffsets", r"see to \['car'\]"),
    ],
)
def test_a_bad_class_table_is_named(tmp_path, old, new, message):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    load_class_table(path)
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        load_class_table(path)


def test_an_absent_class_table_lists_the_known():
    with pytest.raises(UserError, match=r"camvid, .*cityscapes, idd"):
        load_class_table("city")


def test_a_tables_digest_follows_its_content(tmp_path):
    text = "classes: [{name: a, id: 0, train_id: 0, rgb: [0, 0, 0]}, {name: b, id: 1, train_id: 1, rgb: [1, 1, 1]}]\n"
    path = tmp_path / "mine.yaml"

    def digest_of(text):
        path.write_text(text)
        return load_class_table(path).digest

    first = digest_of(text + "minutes: {fine: 90}\noffsets: [0, 0]\n")
    assert digest_of(text + "offsets: [0, 0]\nminutes: {fine: 90}\n# the same\n") == first
    assert digest_of(text + "minutes: {fine: 60}\noffsets: [0, 0]\n") != first
    swapped = text.replace("id: 0, train_id: 0", "id: 0, train_id: 9").replace("train_id: 1", "train_id: 0")
    assert digest_of(swapped.replace("train_id: 9", "train_id: 1") + "minutes: {fine: 90}\noffsets: [0, 0]\n") != first


TABLES = [load_class_table(n) for n in ("cityscapes", "idd", "idd-cityscapes", "camvid")]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
@given(data=st.data())
def test_train_ids_survive_the_way_to_native_ids_and_back(table, data):
    ids = [*range(len(table.names)), IGNORE]
    train = data.draw(arrays(np.uint8, (3, 4), elements=st.sampled_from(ids)))
    native = table.to_native_ids(train)
    assert set(np.unique(native)) <= {c.id for c in table.classes}
    np.testing.assert_array_equal(table.to_train_ids(native, "x.png"), train)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_groups_divide_the_evaluated_classes(table):
    for groups in table.groups.values():
        assert sorted(name for names in groups.values() for name in names) == sorted(table.names)
    assert set(table.groups) == {"idd": {"level2", "level1"}, "camvid": set()}.get(table.name, {"category"})


def test_idd_has_its_benchmarks_levels():
    # AutoNUE's evaluate_mIoU.py: level 3 has 26 classes, levels 2 and 1 join them to 16 and 7.
    idd = load_class_table("idd")
    assert [len(idd.names), *(len(groups) for groups in idd.groups.values())] == [26, 16, 7]
    assert idd.names[1] == "drivable fallback" and idd.names[12] == "vehicle fallback" and idd.names[25] == "sky"
    by_name = {c.name: c.train_id for c in idd.classes}
    assert (by_name["parking"], by_name["animal"], by_name["trailer"], by_name["ego vehicle"]) == (1, 4, 12, IGNORE)
    assert load_class_table("idd-cityscapes").names[9] == "non-drivable fallback"
    assert idd.offsets == (-15, 15) and CITYSCAPES.offsets == (-19, 10)


def test_colours_become_ids_and_strange_ones_are_named():
    camvid = load_class_table("camvid")
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    colours = np.array([c.rgb for c in camvid.classes], np.uint8)[ids]
    np.testing.assert_array_equal(camvid.from_colours(colours, "x.png"), ids)
    colours[0, 0] = (1, 2, 3)
    with pytest.raises(UserError, match=r"x\.png holds 1 colours .* \[1, 2, 3\] \(1 pixels\)"):
        camvid.from_colours(colours, "x.png")
    with pytest.raises(UserError, match=r"\[153, 153, 153\] means both 'pole' and 'polegroup'"):
        CITYSCAPES.from_colours(colours, "x.png")


def test_id_255_is_ignored_in_every_table():
    assert (load_class_table("camvid").to_train_ids(np.full((2, 2), 255, np.uint8), "x.png") == IGNORE).all()


def test_what_is_ignored_is_written_as_the_void_class_and_as_255_without_one(tmp_path):
    ignored = np.array([[IGNORE]], np.uint8)
    assert [int(table.to_native_ids(ignored)[0, 0]) for table in TABLES] == [0, 35, 35, 11]
    (tmp_path / "mine.yaml").write_text(GOOD)
    assert load_class_table(tmp_path / "mine.yaml").to_native_ids(ignored)[0, 0] == 255


def test_a_price_makes_no_label_due_again(tmp_path):
    (tmp_path / "mine.yaml").write_text(GOOD)
    first = load_class_table(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_text(GOOD.replace("fine: 1", "fine: 2"))
    second = load_class_table(tmp_path / "mine.yaml")
    assert first.label_digest == second.label_digest and first.digest != second.digest
    (tmp_path / "mine.yaml").write_text(GOOD.replace("[1, 1, 1]", "[9, 9, 9]"))
    third = load_class_table(tmp_path / "mine.yaml")
    assert first.label_digest == third.label_digest and first.digest != third.digest
    (tmp_path / "mine.yaml").write_text(GOOD.replace("minutes: {fine: 1}", ""))
    assert load_class_table(tmp_path / "mine.yaml").minutes == {}
