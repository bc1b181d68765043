import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, canonical_json
from fewframes.core.images import read_instances, read_label
from fewframes.core.labels import load_class_table
from fewframes.datasets.labelmaps import label_task, vps_instance_task, vps_label_task
from fewframes.datasets.preparing import prepare

CAMVID = load_class_table("camvid-original")
CITYSCAPES = load_class_table("cityscapes")
RGB = {c.id: c.rgb for c in CAMVID.classes}

NATIVE = np.array([[0, 13, 11], [31, 8, 20]], np.uint8)


def colours(native, rgb=RGB):
    return np.array([[rgb[int(i)] for i in row] for row in native], np.uint8)


def made(task, folder):
    facts = task.make(task, folder, folder / "prepared")
    assert json.loads(canonical_json(facts)) == facts
    return folder / "prepared" / task.outputs[0], facts


def test_the_32_classes_of_camvid_become_its_usual_11():
    usual = load_class_table("camvid")
    assert len(CAMVID.classes) == 32 == len({c.rgb for c in CAMVID.classes})
    assert CAMVID.names == usual.names and CAMVID.refined == usual.refined
    assert (CAMVID.palette == usual.palette).all()
    train = {c.name: c.train_id for c in CAMVID.classes}
    assert (train["Wall"], train["TrafficCone"], train["LaneMkgsNonDriv"], train["Animal"]) == (1, 2, 3, 9)
    assert [c.name for c in CAMVID.classes if c.train_id == 255] == ["void"]
    # Ids in SegNet's manner mean the same in both tables.
    assert (CAMVID.to_train_ids(np.arange(12, dtype=np.uint8), "a") == [*range(11), 255]).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
def test_ids_and_colours_are_told_apart_by_how_pixels_are_stored(tmp_path, mode):
    image = Image.fromarray(NATIVE if mode in "LP" else colours(NATIVE))
    if mode == "P":
        image.putpalette([9, 9, 9] * 32)
    elif mode == "RGBA":
        image.putalpha(7)
    image.save(tmp_path / "label.png")
    task = label_task("label.png", "labels/a_labelIds.png", CAMVID)
    file, facts = made(task, tmp_path)
    assert task.name == "labels/a_labelIds.png"
    assert (read_label(file) == NATIVE).all()
    assert (facts["height"], facts["width"]) == (2, 3)


def palette_picture(path, native, palette):
    image = Image.fromarray(native)
    image.putpalette([channel for colour in palette for channel in colour])
    image.save(path)


def test_a_colour_picture_saved_with_a_palette_is_not_taken_for_ids(tmp_path):
    Image.fromarray(colours(NATIVE)).quantize(32).save(tmp_path / "colours.png")
    assert Image.open(tmp_path / "colours.png").mode == "P"
    with pytest.raises(
        UserError, match=r"colours\.png holds the colours of 'camvid-original' as a palette.*as RGB, or"
    ):
        made(label_task("colours.png", "out.png", CAMVID), tmp_path)


@pytest.mark.parametrize("palette", ["the classes'", "greys", "others"])
def test_ids_with_a_palette_stay_ids(tmp_path, palette):
    native = np.zeros((2, 3), np.uint8) if palette == "greys" else NATIVE  # black is void, which is not 0
    rgb = {"the classes'": RGB, "greys": {i: (i, i, i) for i in range(256)}, "others": {11: (1, 2, 3)}}[palette]
    palette_picture(tmp_path / "label.png", native, [rgb.get(i, (0, 0, 0)) for i in range(256)])
    file, _ = made(label_task("label.png", "out.png", CAMVID), tmp_path)
    assert (read_label(file) == native).all()


def test_what_is_no_label_of_the_table_is_named(tmp_path):
    Image.fromarray(np.full((2, 2), 77, np.uint8)).save(tmp_path / "ids.png")
    Image.new("RGB", (2, 2), (1, 2, 3)).save(tmp_path / "colours.png")
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "deep.png")
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    (tmp_path / "empty.png").touch()
    Image.fromarray(colours(np.random.default_rng(0).integers(0, 32, (64, 64)))).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:1000])
    faults = {
        "ids.png": r"ids\.png holds label ids \[77\]",
        "colours.png": r"colours\.png holds 1 colours that no class",
        "deep.png": r"deep\.png is an image of mode I;16",
        "moving.png": r"moving\.png is animated",
        "empty.png": r"empty\.png is not a readable image \(it is empty\)",
        "cut.png": r"cut\.png is damaged",
        "absent.png": r"absent\.png does not exist",
    }
    for name, fault in faults.items():
        with pytest.raises(UserError, match=fault):
            made(label_task(name, f"{name}.out.png", CAMVID), tmp_path)
    assert not list(tmp_path.glob("prepared/*"))


def test_few_pixels_of_a_strange_colour_can_be_ignored_and_are_counted(tmp_path):
    picture = colours(np.full((10, 10), 3, np.uint8))
    picture[0, 0] = (26, 26, 26)
    Image.fromarray(picture).save(tmp_path / "label.png")
    file, facts = made(label_task("label.png", "out.png", CAMVID, stray=0.01), tmp_path)
    assert facts["stray"] == 1
    assert read_label(file)[0, 0] == 11 and (read_label(file) == 3).sum() == 99
    with pytest.raises(UserError, match=r"\[26, 26, 26\]"):
        made(label_task("label.png", "other.png", CAMVID, stray=0.009), tmp_path)


def test_a_prepared_label_is_due_again_when_its_classes_change_and_only_then(tmp_path, capsys):
    Image.fromarray(colours(NATIVE)).save(tmp_path / "label.png")
    dearer = dataclasses.replace(CAMVID, minutes={"fine": 1})
    fewer = dataclasses.replace(CAMVID, classes=tuple(c for c in CAMVID.classes if c.name != "Animal"))
    for classes, said in ((CAMVID, "prepared 1"), (dearer, "prepared 0"), (fewer, "prepared 1")):
        hashes = ContentHashes(tmp_path / "hashes", "prepare")
        prepare([label_task("label.png", "out.png", classes)], tmp_path, tmp_path / "prepared", hashes)
        assert said in capsys.readouterr().err


TRAIN = hnp.arrays(np.uint8, (3, 4), elements=st.sampled_from([*range(19), 255]))


@given(TRAIN)
def test_all_three_encodings_of_a_vps_label_say_the_same(tmp_path_factory, train):
    folder = tmp_path_factory.mktemp("vps")
    rgb = {**{c.train_id: c.rgb for c in CITYSCAPES.trained}, 255: (0, 0, 0)}
    Image.fromarray(colours(train, rgb)).save(folder / "cls.png")
    Image.fromarray(train).save(folder / "labelmap.png")
    wide = train.astype(np.uint16)
    things = (train >= 11) & (train != 255)
    Image.fromarray(np.where(things, wide * 1000 + 4, wide)).save(folder / "panoptic.png")
    for name in ("cls", "labelmap", "panoptic"):
        file, facts = made(vps_label_task(f"{name}.png", f"{name}.png", CITYSCAPES), folder)
        assert (CITYSCAPES.to_train_ids(read_label(file), file) == train).all()
        assert (read_label(file)[train == 255] == 0).all() and facts["stray"] == 0


def test_objects_of_vps_keep_their_numbers_and_void_stays_void(tmp_path):
    values = np.array([[0, 7, 255], [11000, 13000, 13005], [18001, 13, 10]], np.uint16)
    Image.fromarray(values).save(tmp_path / "panoptic.png")
    file, _ = made(vps_instance_task("panoptic.png", "instances.png", CITYSCAPES), tmp_path)
    assert read_instances(file).tolist() == [[7, 20, 0], [24000, 26000, 26005], [33001, 26, 23]]
    file, _ = made(vps_label_task("panoptic.png", "label.png", CITYSCAPES), tmp_path)
    assert read_label(file).tolist() == [[7, 20, 0], [24, 26, 26], [33, 26, 23]]


def test_strange_values_of_vps_are_named_and_strange_colours_are_void(tmp_path):
    for name, values in (("map", np.full((2, 2), 19, np.uint8)), ("deep", np.full((2, 2), 19003, np.uint16))):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        with pytest.raises(UserError, match=rf"{name}\.png holds \[{values[0, 0]}\], which are no train ids"):
            made(vps_label_task(f"{name}.png", "out.png", CITYSCAPES), tmp_path)
    picture = np.full((4, 4, 3), (153, 153, 153), np.uint8)  # pole, and polegroup, which VPS does not have
    picture[:2] = (1, 2, 3)
    Image.fromarray(picture).save(tmp_path / "cls.png")
    file, facts = made(vps_label_task("cls.png", "out.png", CITYSCAPES), tmp_path)
    assert read_label(file)[:, 0].tolist() == [0, 0, 17, 17] and facts["stray"] == 8
    picture[2] = (1, 2, 3)
    Image.fromarray(picture).save(tmp_path / "segments.png")
    with pytest.raises(UserError, match=r"segments\.png holds 1 colours that no class of 'cityscapes' has"):
        made(vps_label_task("segments.png", "out.png", CITYSCAPES), tmp_path)
