import numpy as np
import pytest
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.datasets import index

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
    return {clip.id: clip for clip in index("cityscapes", root, CLASSES, {})}


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
        index("cityscapes", tmp_path / "nowhere", CLASSES, {})
    with pytest.raises(UserError, match="no annotated frame"):
        read(tmp_path)
    with pytest.raises(UserError, match="'kitti' is unknown: choose one of cityscapes, camvid"):
        index("kitti", tmp_path, CLASSES, {})
    annotated(tmp_path, "train", "aachen_000000_000019", size=(9, 4))
    with pytest.raises(UserError, match=r"labelIds\.png is 9x4 but its image .* is 8x4"):
        read(tmp_path)
