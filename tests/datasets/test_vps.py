import shutil

import numpy as np
import pytest
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.core.images import image_size, read_image, read_instances, read_label
from fewframes.core.labels import load_class_table
from fewframes.datasets import index, prepare_dataset
from fewframes.datasets.preparing import prepare
from fewframes.datasets.source import Source
from fewframes.datasets.vps import truth_tasks

CLASSES = load_class_table("cityscapes")
RGB = {c.train_id: c.rgb for c in CLASSES.trained} | {255: (0, 0, 0)}
VAL, TRAIN = "frankfurt_000000_000294", "munster_000012_000019"
LABELLED = range(-15, 11, 5)
SHAPE = (4, 6)


def truth_of(offset):
    """Train ids and object numbers of the frame at an offset: road, a car (object 0) that moves, a car without a
    number, void."""
    train, objects = np.zeros(SHAPE, np.uint8), np.full(SHAPE, -1)
    train[0, 3 + offset // 5] = 13
    objects[0, 3 + offset // 5] = 0
    train[3, 0], train[3, 1:4] = 13, 255
    return train, objects


def colour(path, train):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.array([[RGB[int(t)] for t in row] for row in train], np.uint8)
    image = Image.fromarray(picture)
    if "gtFine" in path.name:  # Cityscapes' own are RGBA
        image.putalpha(255)
    image.save(path)


def wide(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint16)).save(path)


def clip(root, split, key, number, every=True):
    """A clip in the dataset's exact names; frame n is n % 256 all over."""
    sequence, frame = key.rsplit("_", 1)
    for place, offset in enumerate(LABELLED):
        name = f"{number:04d}_{6 * number - 5 + place:04d}_{sequence}_{int(frame) + offset:06d}"
        image, label = ("leftImg8bit", "gtFine_color") if offset == 0 else ("newImg8bit", "final_mask")
        picture(root / f"{split}/img/{name}_{image}.png", int(frame) + offset)
        train, objects = truth_of(offset)
        colour(root / f"{split}/cls/{name}_{label}.png", train)
        if offset == 0:
            native = CLASSES.to_native_ids(train).astype(int)
            wide(
                root / f"{split}/inst/{name}_gtFine_instanceIds.png",
                np.where(objects >= 0, native * 1000 + objects, native),
            )
    for offset in range(-19, 11) if every else ():
        picture(root / f"{split}/img_all/{sequence}_{int(frame) + offset:06d}_leftImg8bit.png", int(frame) + offset)


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SHAPE[::-1], (number % 256,) * 3).save(path)


@pytest.fixture
def root(tmp_path):
    clip(tmp_path / "cityscapes_vps", "val", VAL, 2)
    clip(tmp_path / "cityscapes_vps", "train", TRAIN, 1, every=False)
    return tmp_path / "cityscapes_vps"


def prepared(root, classes=CLASSES):
    given = Source(root, root.parent / "prepared", classes)
    prepare_dataset("vps", given, ContentHashes(root.parent / "hashes", "prepare"))
    return {c.id: c for c in index("vps", given)}, given


def decoded(given, path):
    return CLASSES.to_train_ids(read_label(given.root / path), path)


def test_each_clip_is_cityscapes_clip_with_its_frames(root):
    clips, given = prepared(root)
    assert sorted(clips) == [VAL, TRAIN]
    val, train = clips[VAL], clips[TRAIN]
    assert (val.key, val.step, val.first, val.last, val.group) == (294, 1, -19, 10, "frankfurt_000000")
    assert (train.key, train.step, train.first, train.last) == (19, 5, -15, 10)
    assert val.image == f"val/img_all/{VAL}_leftImg8bit.png"
    for c in clips.values():
        for offset in range(-19, 11):
            if c.has(offset):
                assert (read_image(given.root / c.image_at(offset)) == (c.key + offset) % 256).all()
    assert given.left_out.rows == []


def test_dense_labels_are_decoded_to_cityscapes_ids(root):
    clips, given = prepared(root)
    for c in clips.values():
        for offset in LABELLED:
            label = read_label(given.root / c.truth_at(offset))
            assert set(np.unique(label)) == {0, 7, 26}
            assert (decoded(given, c.truth_at(offset)) == truth_of(offset)[0]).all()
        assert not (given.root / c.truth_at(-19)).exists()
        assert (decoded(given, c.fine) == truth_of(0)[0]).all()
        assert image_size(given.root / c.fine_instances) == SHAPE
        assert sorted(np.unique(read_instances(given.root / c.fine_instances)).tolist()) == [0, 7, 26, 26000]
    assert clips[VAL].truth_at(5) == "prepared:truth/val/frankfurt/frankfurt_000000_000299_labelIds.png"


def test_frames_are_linked_anew_where_the_folder_is_another(root, tmp_path):
    prepared(root)
    other = tmp_path / "elsewhere"
    shutil.copytree(root, other)
    picture(other / "train/img/0001_0003_munster_000012_000014_newImg8bit.png", 200)
    clips, given = prepared(other)
    assert (read_image(given.root / clips[TRAIN].image_at(-5)) == 200).all()


def test_no_clip_is_ever_anything_but_measured(root):
    clip(root, "test", "lindau_000001_000019", 3)
    clips, given = prepared(root)
    assert sorted(clips) == [VAL, TRAIN]
    assert {c.split for c in clips.values()} == {"measure"}
    assert given.left_out.rows == [("its labels are not published", "test")]


@pytest.mark.parametrize("kind", ["labelmap", "panoptic_inst"])
def test_what_its_scripts_make_of_the_labels_is_read_where_those_are_gone(root, kind):
    for path in list(root.glob("*/cls/*.png")):
        frame = int(path.name.split("_")[4])
        train, objects = truth_of(frame - (294 if "frankfurt" in path.name else 19))
        target = path.parent.parent / kind / path.name
        if kind == "labelmap":
            target.parent.mkdir(exist_ok=True)
            Image.fromarray(train).save(target)
        else:
            # As create_panoptic_labels.py does: things without a number are void.
            stuff = np.where(train == 13, 255, train).astype(int)
            wide(target, np.where(objects >= 0, train.astype(int) * 1000 + objects, stuff))
        path.unlink()
    for path in root.glob("*/inst/*.png"):
        path.unlink()
    clips, given = prepared(root)
    c = clips[VAL]
    for offset in LABELLED:
        expected, objects = truth_of(offset)
        if kind == "panoptic_inst":
            expected[(expected == 13) & (objects < 0)] = 255
        assert (decoded(given, c.truth_at(offset)) == expected).all()
    if kind == "labelmap":
        assert c.fine_instances == ""
    else:
        assert c.fine_instances == f"prepared:labels/{VAL}_instanceIds.png"
        assert read_instances(given.root / c.fine_instances)[0, 3] == 26000


def test_a_partial_download_is_read_as_far_as_it_goes_and_reported(root):
    (root / "val/cls/0002_0008_frankfurt_000000_000284_final_mask.png").unlink()
    (root / "val/img_all/frankfurt_000000_000302_leftImg8bit.png").unlink()
    (root / "val/cls/notes.txt").touch()
    (root / "train/cls/0001_0004_munster_000012_000019_gtFine_color.png").unlink()
    clip(root, "val", "lindau_000003_000019", 3, every=False)
    (root / "val/img/0003_0016_lindau_000003_000019_leftImg8bit.png").unlink()
    clips, given = prepared(root)
    assert sorted(clips) == [VAL]
    assert (clips[VAL].first, clips[VAL].last) == (-19, 7)
    assert not (given.root / clips[VAL].truth_at(-10)).exists()
    assert [(reason.split(":")[0], name) for reason, name in given.left_out.rows] == [
        ("a labelled frame without its label", "frankfurt_000000_000284"),
        ("frames are missing at its ends, the clip is cut short", VAL),
        ("not named as Cityscapes-VPS names its files", "val/cls/notes.txt"),
        ("the 20th frame has no image", "lindau_000003_000019"),
        ("the 20th frame has no label", "train/0001"),
    ]


def test_strange_colours_are_void_and_counted(root):
    path = root / "val/cls/0002_0009_frankfurt_000000_000289_final_mask.png"
    label = truth_of(-5)[0]
    colour(path, label)
    changed = np.array(Image.open(path))
    changed[1, 1] = (1, 2, 3)
    Image.fromarray(changed).save(path)
    clips, given = prepared(root)
    assert decoded(given, clips[VAL].truth_at(-5))[1, 1] == 255
    assert given.left_out.rows == [
        ("pixels of a colour that no class has, taken as void", path.relative_to(root).as_posix())
    ]


def test_dense_truth_alone_is_prepared_for_cityscapes_own_sequences(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root.parent)
    cityscapes = tmp_path / "cityscapes"
    cityscapes.mkdir()
    tasks = list(truth_tasks(root.relative_to(root.parent)))
    prepare(tasks, cityscapes, tmp_path / "other", ContentHashes(tmp_path / "hashes", "prepare"))
    made = sorted(p.relative_to(tmp_path / "other").as_posix() for p in (tmp_path / "other").rglob("*.png"))
    assert len(made) == 12
    assert made[0] == "truth/val/frankfurt/frankfurt_000000_000279_labelIds.png"
    label = read_label(tmp_path / "other" / made[0])
    assert (CLASSES.to_train_ids(label, made[0]) == truth_of(-15)[0]).all()
    with pytest.raises(UserError, match="cityscapes holds no label of Cityscapes-VPS"):
        list(truth_tasks(cityscapes))


def test_other_classes_are_refused(root):
    with pytest.raises(UserError, match="classes is 'idd-cityscapes': set cityscapes"):
        prepared(root, load_class_table("idd-cityscapes"))
