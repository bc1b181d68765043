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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [", "not a class table"),
        ("classes: [{name: a, id: 0, train_id: 1, rgb: [0, 0, 0]}]\nminutes: {}\noffsets: [0, 0]", "without gaps"),
        ("classes: [{name: a, id: 0, rgb: [0, 0]}]\nminutes: {}\noffsets: [0, 0]", "not a class table"),
    ],
)
def test_a_bad_class_table_is_named(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_class_table(path)


def test_an_absent_class_table_lists_the_known():
    with pytest.raises(UserError, match="camvid, cityscapes"):
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
