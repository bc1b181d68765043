import json
import os

import numpy as np
import pytest
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.core.labels import load_class_table
from fewframes.datasets import index, prepare_dataset
from fewframes.datasets.source import Source
from fewframes.datasets.toycity import ToyCitySettings, write_toycity

CLASSES = load_class_table("cityscapes")


def png(path, size=(8, 4), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


def annotated(root, split, stem, kind="gtFine", still=True, instances=True, size=(8, 4)):
    city = stem.rsplit("_", 2)[0]
    png(root / f"{kind}/{split}/{city}/{stem}_{kind}_labelIds.png", size)
    if instances:
        Image.fromarray(np.zeros(size[::-1], np.uint16)).save(
            root / f"{kind}/{split}/{city}/{stem}_{kind}_instanceIds.png"
        )
    if still:
        png(root / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png", mode="RGB")


def sequence(root, split, prefix, numbers):
    city = prefix.rsplit("_", 1)[0]
    for number in numbers:
        png(root / f"leftImg8bit_sequence/{split}/{city}/{prefix}_{number:06d}_leftImg8bit.png", mode="RGB")


def read(root):
    return {clip.id: clip for clip in index("cityscapes", Source(root, root / "prepared", CLASSES))}


def test_a_clip_is_known_by_city_sequence_and_frame(tmp_path):
    for key in (700, 731):
        annotated(tmp_path, "train", f"hanover_000000_{key:06d}")
    sequence(tmp_path, "train", "hanover_000000", range(681, 742))
    clips = read(tmp_path)
    assert sorted(clips) == ["hanover_000000_000700", "hanover_000000_000731"]
    first = clips["hanover_000000_000700"]
    assert (first.first, first.last, first.key, first.group) == (-19, 10, 700, "hanover_000000")
    assert (tmp_path / first.image_at(-19)).is_file() and first.image_at(0).startswith("leftImg8bit/")
    assert clips["hanover_000000_000731"].fine_instances.endswith("_gtFine_instanceIds.png")


def test_coarse_and_fine_meet_in_one_clip_and_hyphens_stay(tmp_path):
    annotated(tmp_path, "train", "aachen_000000_000019")
    annotated(tmp_path, "train", "aachen_000000_000019", "gtCoarse", still=False)
    annotated(tmp_path, "train_extra", "bad-honnef_000000_000000", "gtCoarse", instances=False)
    annotated(tmp_path, "train_extra", "troisdorf_000000_000073", "gtCoarse")
    clips = read(tmp_path)
    assert clips["aachen_000000_000019"].fine and clips["aachen_000000_000019"].coarse
    extra = clips.pop("bad-honnef_000000_000000")
    assert (extra.split, extra.fine, extra.coarse_instances, extra.first, extra.last) == ("train_extra", "", "", 0, 0)
    assert list(clips) == ["aachen_000000_000019"]


def test_a_clip_reaches_as_far_as_its_frames_do(tmp_path):
    annotated(tmp_path, "val", "lindau_000001_000019", still=False)
    sequence(tmp_path, "val", "lindau_000001", [5, *range(15, 24)])
    (clip,) = read(tmp_path).values()
    assert (clip.first, clip.last) == (-4, 4)
    assert clip.image.startswith("leftImg8bit_sequence/")


def test_an_annotation_without_any_image_is_no_clip(tmp_path):
    annotated(tmp_path, "train", "aachen_000000_000019")
    annotated(tmp_path, "train", "aachen_000001_000019", still=False)
    assert list(read(tmp_path)) == ["aachen_000000_000019"]


def test_what_would_break_later_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no annotated frame"):
        read(tmp_path)
    with pytest.raises(UserError, match="'kitti' is unknown: choose one of cityscapes, idd, camvid"):
        index("kitti", Source(tmp_path, tmp_path, CLASSES))
    annotated(tmp_path, "train", "aachen_000000_000019", size=(9, 4))
    with pytest.raises(UserError, match=r"labelIds\.png is 9x4 but its image .* is 8x4"):
        read(tmp_path)


def test_what_is_not_used_is_counted_and_named(tmp_path):
    annotated(tmp_path, "train", "aachen_000000_000019")
    annotated(tmp_path, "train", "aachen_000001_000019", still=False)
    annotated(tmp_path, "train", "aachen_scribble")
    png(tmp_path / "gtFine/train/aachen/aachen_000003_000019_gtFine_labelids.png")
    png(tmp_path / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelTrainIds.png")
    png(tmp_path / "leftImg8bit/train/aachen/aachen_000003_000019.png")
    png(tmp_path / "leftImg8bit/train/aachen/aachen_000002_000019_leftImg8bit.png", mode="RGB")
    annotated(tmp_path, "train_extra", "troisdorf_000000_000073", "gtCoarse")
    (tmp_path / "gtFine/train/bochum").mkdir()
    (tmp_path / "gtFine/train/bochum/bochum_000000_000313_gtFine_polygons.json").touch()
    source = Source(tmp_path, tmp_path / "prepared", CLASSES)
    assert [clip.id for clip in index("cityscapes", source)] == ["aachen_000000_000019"]
    assert source.left_out.rows == [
        ("annotated frames without a sequence", "train: 1 of 1"),
        ("annotation with polygons.json alone (options.labels: polygons draws them)",
         "gtFine/train/bochum/bochum_000000_000313"),
        ("annotation without image", "train/aachen/aachen_000001_000019"),
        ("image known to be corrupt", "leftImg8bit/train_extra/troisdorf/troisdorf_000000_000073_leftImg8bit.png"),
        ("image without annotation", "leftImg8bit/train/aachen/aachen_000002_000019_leftImg8bit.png"),
        ("name that is not {city}_{seq}_{frame}", "train/aachen/aachen_scribble"),
        ("not named as a file of gtFine", "gtFine/train/aachen/aachen_000003_000019_gtFine_labelids.png"),
        ("not named as an image", "leftImg8bit/train/aachen/aachen_000003_000019.png"),
    ]  # fmt: skip


def test_what_sequences_lack_and_have_too_much_is_counted_and_named(tmp_path):
    for stem in ("aachen_000000_000019", "aachen_000001_000019", "aachen_000002_000019"):
        annotated(tmp_path, "train", stem)
    sequence(tmp_path, "train", "aachen_000000", range(30))
    sequence(tmp_path, "train", "aachen_000001", [n for n in range(30) if n not in (7, 8)])
    sequence(tmp_path, "train", "aachen_000003", range(30))
    sequence(tmp_path, "train", "aachen_000000", (30, 31))
    png(tmp_path / "leftImg8bit/train/aachen/aachen_000003_000019_leftImg8bit.png", mode="RGB")
    sequence(tmp_path, "train", "bochum_000000", range(30))
    png(tmp_path / "leftImg8bit/train/bochum/bochum_000000_000019_leftImg8bit.png", mode="RGB")
    annotated(tmp_path, "val", "lindau_000000_000019")
    annotated(tmp_path, "train_extra", "bayern_000000_000019", "gtCoarse")
    source = Source(tmp_path, tmp_path / "prepared", CLASSES)
    clips = {clip.id: (clip.first, clip.last) for clip in index("cityscapes", source)}
    assert clips["aachen_000000_000019"] == (-19, 10) and clips["aachen_000001_000019"] == (-10, 10)
    assert source.left_out.rows == [
        ("annotated frames without a sequence", "train: 1 of 3"),
        ("annotated frames without a sequence", "val: 1 of 1"),
        ("city without any annotation", "train/bochum: 31 images"),
        ("frames beyond a gap in the sequence, where the clip is cut", "train/aachen/aachen_000001_000019"),
        ("frames of no annotated frame's sequence", "leftImg8bit_sequence/train/aachen: 2"),
        ("image without annotation", "leftImg8bit/train/aachen/aachen_000003_000019_leftImg8bit.png"),
    ]


def test_odd_names_are_left_out_and_named(tmp_path):
    annotated(tmp_path, "train", "aachen_000000_000019")
    open(os.fsencode(tmp_path / "leftImg8bit/train/aachen") + b"/\xff_leftImg8bit.png", "wb").close()
    source = Source(tmp_path, tmp_path / "prepared", CLASSES)
    assert len(index("cityscapes", source)) == 1
    assert [name for reason, name in source.left_out.rows if reason == "name that is not UTF-8"] == [
        f"{tmp_path}/leftImg8bit/train/aachen/\\xff_leftImg8bit.png"
    ]


def test_labels_can_be_drawn_from_edited_polygons(tmp_path):
    city = tmp_path / "city"
    write_toycity(city, ToyCitySettings(train=2, val=0, train_extra=0, height=64, width=128))
    source = Source(city, tmp_path / "prepared", CLASSES, {"labels": "polygons"})
    hashes = ContentHashes(tmp_path / "hashes", "test")
    prepare_dataset("cityscapes", source, hashes)
    clips = index("cityscapes", source)
    assert len(clips) == 2 and source.left_out.rows == []
    for drawn in clips:
        for path in (drawn.fine, drawn.fine_instances, drawn.coarse, drawn.coarse_instances):
            shipped = city / path.removeprefix("prepared:labels/")
            np.testing.assert_array_equal(np.array(Image.open(source.root / path)), np.array(Image.open(shipped)))

    annotation = city / clips[0].fine.removeprefix("prepared:labels/").replace("labelIds.png", "polygons.json")
    content = json.loads(annotation.read_text())
    content["objects"].append({"label": "car", "polygon": [[0, 0], [40, 0], [40, 40], [0, 40]]})
    annotation.write_text(json.dumps(content))
    times = {clip.id: (source.root / clip.fine).stat().st_mtime_ns for clip in clips}
    prepare_dataset("cityscapes", source, hashes)
    changed = {clip.id for clip in clips if (source.root / clip.fine).stat().st_mtime_ns != times[clip.id]}
    assert changed == {clips[0].id}
    assert (np.array(Image.open(source.root / clips[0].fine))[:40, :40] == 26).all()


def test_cityscapes_vps_can_be_the_truth(tmp_path):
    annotated(tmp_path, "val", "lindau_000001_000019")
    annotated(tmp_path, "train", "aachen_000001_000019")
    source = Source(tmp_path, tmp_path / "prepared", CLASSES, {"truth": "vps"}, truth=tmp_path / "vps")
    train, val = index("cityscapes", source)
    assert val.truth_at(-5) == "prepared:truth/val/lindau/lindau_000001_000014_labelIds.png" and train.truth == ""
    with pytest.raises(UserError, match="truth is 'dense': choose frames or vps"):
        index("cityscapes", Source(tmp_path, tmp_path, CLASSES, {"truth": "dense"}))
