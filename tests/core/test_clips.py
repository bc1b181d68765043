import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.core.clips import Clip, pattern_of, read_clips, read_shard, scan, shard_of, stamp, write_clips
from fewframes.core.errors import UserError

CLIP = Clip(
    "hanover_000000_000712", "train", "hanover_000000", "still.png", "seq/{frame:06d}.png", 712, 1, -19, 10, "fine.png"
)


def test_frames_count_from_the_key_frame():
    assert CLIP.image_at(0) == "still.png"
    assert CLIP.image_at(-10) == "seq/000702.png"
    assert CLIP.has(-19) and CLIP.has(10) and not CLIP.has(11) and not CLIP.has(-20)
    assert CLIP.memory_at(0, 2) == ("seq/000710.png", "seq/000711.png")
    assert CLIP.memory_at(1, 1) == ("still.png",)
    assert CLIP.memory_at(-19, 1) == ()
    assert CLIP.outward(3) == (1, 2, 3) and CLIP.outward(-2) == (-1, -2) and CLIP.outward(0) == ()


def test_every_second_frame():
    clip = Clip("c", "train", "g", "k", "{frame}", 100, 2, -4, 4)
    assert clip.outward(4) == (2, 4) and clip.outward(-4) == (-2, -4)
    assert not clip.has(1) and clip.memory_at(0, 1) == ("98",)


def test_an_index_comes_back_as_it_was(tmp_path):
    clips = [CLIP, Clip("b", "val", "g, with comma", 'quote".png')]
    write_clips(tmp_path / "index.csv", clips)
    assert read_clips(tmp_path / "index.csv") == clips
    write_clips(tmp_path / "shard.csv", clips, {"offsets": {CLIP.id: "-1 1", "b": ""}})
    assert read_shard(tmp_path / "shard.csv") == [(CLIP, {"offsets": "-1 1"}), (clips[1], {"offsets": ""})]


@pytest.mark.parametrize("bad", ["", "a/b", "a b", "../x", "-x", "a\nb"])
def test_ids_are_safe_as_file_names(bad):
    with pytest.raises(UserError, match="Clip id"):
        Clip(bad, "train", "g", "i")


@given(st.integers(0, 999_999), st.text(st.sampled_from("ab{}_0123/ "), max_size=12))
def test_a_pattern_gives_back_its_file(number, folder):
    path = f"{folder}x_{number:06d}_leftImg8bit.png"
    pattern = pattern_of(path, f"{number:06d}")
    assert pattern.format(frame=number) == path
    assert pattern.format(frame=number + 1) != path


@given(st.lists(st.text(min_size=1), unique=True, min_size=1), st.integers(1, 9))
def test_a_clips_shard_depends_on_nothing_else(ids, shards):
    assert all(0 <= shard_of(i, shards) < shards for i in ids)
    assert [shard_of(i, shards) for i in ids] == [shard_of(i, shards) for i in reversed(ids)][::-1]


def test_scan_and_stamp_notice_size_time_and_absence(tmp_path):
    (tmp_path / "d").mkdir()
    file = tmp_path / "d" / "f"
    file.write_text("1")
    first, stamped = scan(tmp_path), stamp(tmp_path, ["d/f"])
    assert scan(tmp_path) == first and stamp(tmp_path, ["d/f"]) == stamped
    os.utime(file, (1, 1))
    assert scan(tmp_path) != first and stamp(tmp_path, ["d/f"]) != stamped
    file.unlink()
    with pytest.raises(UserError, match="d/f does not exist"):
        stamp(tmp_path, ["d/f"])
    assert scan(tmp_path / "nowhere") != scan(tmp_path)


def test_scan_ends_on_a_loop_of_links_and_on_dead_ones(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "up").symlink_to(tmp_path)
    first = scan(tmp_path)
    (tmp_path / "d" / "dead").symlink_to(tmp_path / "nothing")
    assert scan(tmp_path) != first
