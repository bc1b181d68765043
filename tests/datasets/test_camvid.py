import pytest
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.datasets import index

CLASSES = load_class_table("camvid")


@pytest.fixture
def root(tmp_path):
    frames = {"video": [f"0016E5_{n:05d}" for n in range(7959, 7989, 2)], "train": ["0001TP_006690", "0006R0_f00930"]}
    for folder, stems in frames.items():
        for kind in (folder, f"{folder}annot"):
            (tmp_path / kind).mkdir()
        for stem in stems:
            Image.new("RGB", (8, 4)).save(tmp_path / folder / f"{stem}.png")
            Image.new("L", (8, 4)).save(tmp_path / f"{folder}annot" / f"{stem}.png")
    return tmp_path


def test_every_frame_of_a_video_is_a_key_frame(root):
    clips = index("camvid", root, CLASSES, {"sequences": ["video"], "key_every": 5})
    assert len(clips) == 15
    assert [c.split for c in clips[:6]] == ["train", "measure", "measure", "measure", "measure", "train"]
    assert (clips[0].first, clips[0].last, clips[0].step) == (0, 18, 2)
    assert (clips[5].first, clips[5].last) == (-10, 18)
    assert clips[5].image_at(-2) == "video/0016E5_07967.png"
    assert clips[5].truth_at(4) == "videoannot/0016E5_07973.png"


def test_stills_keep_to_their_videos_and_have_no_neighbours(root):
    options = {"stills": {"train": "val"}, "videos": ["0006R0"]}
    (clip,) = index("camvid", root, CLASSES, options)
    assert (clip.id, clip.split, clip.group, clip.first, clip.last) == ("0006R0_f00930", "val", "0006R0", 0, 0)


def test_a_missing_folder_is_named(root):
    with pytest.raises(UserError, match="nothing does not exist"):
        index("camvid", root, CLASSES, {"sequences": ["nothing"]})
