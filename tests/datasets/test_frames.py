import os
import string

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fewframes.core.clips import PREPARED, natural
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.core.images import image_size, read_image
from fewframes.datasets.frames import counted, frame_count, frame_names, link_task, linked, video_task
from fewframes.datasets.preparing import Ledger, prepare

ODD = "a 'b' \"c\"\n{d} %03d é.ü"


def touched(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


def film(path, count, size=(32, 24)):
    """A video whose frame n has the grey level 8 n."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, size)
    for number in range(count):
        writer.write(np.full((size[1], size[0], 3), 8 * number, np.uint8))
    writer.release()
    return path


def done(task, folder, prepared):
    prepare([task], folder, prepared, ContentHashes(prepared.parent / "hashes", "prepare"))
    return Ledger(prepared).facts(task.name)


def grey(path):
    return round(float(read_image(path).mean()) / 8)


# --- folders ----------------------------------------------------------------------------------------


def test_frames_are_in_natural_order_and_all_else_is_named(tmp_path):
    touched(tmp_path, "frame10.png", "frame2.png", "frame1.png", "frame02.png", "notes.txt", ".frame3.png")
    (tmp_path / "sub").mkdir()
    assert frame_names(tmp_path) == (["frame1.png", "frame02.png", "frame2.png", "frame10.png"], ["notes.txt", "sub"])


@given(st.text("ab_.", max_size=3), st.integers(0, 10**20), st.integers(1, 10**20), st.text("ab", max_size=2))
def test_natural_order_compares_numbers_by_value_however_padded(head, number, more, tail):
    for padded in (f"{head}{number}{tail}", f"{head}{number:022d}{tail}"):
        assert natural(padded) < natural(f"{head}{number + more}{tail}")


@given(
    st.lists(st.text("a1\u06610_.", max_size=6), unique=True).flatmap(
        lambda n: st.tuples(st.just(n), st.permutations(n))
    )
)
def test_natural_order_does_not_depend_on_how_the_disk_lists(orders):
    names, listed = orders
    assert sorted(names, key=natural) == sorted(listed, key=natural)


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ([], "holds no picture"),
        (["notes.txt"], "holds no picture"),
        (["1.png", "2.jpg"], r"several kinds \(\.jpg, \.png\): keep only the frames"),
        (["1.jpg", "1.jpeg"], "holds both '1.jp"),
        (["1.png", "1.PNG"], "holds both '1.[pP]"),
    ],
)
def test_a_folder_whose_frames_are_uncertain_is_refused(tmp_path, names, fault):
    with pytest.raises(UserError, match=fault):
        frame_names(touched(tmp_path / "f", *names))


def test_one_kind_may_be_spelled_in_several_ways(tmp_path):
    assert frame_names(touched(tmp_path, "1.jpg", "2.JPEG", "3.JPG"))[0] == ["1.jpg", "2.JPEG", "3.JPG"]


def test_dead_links_loops_and_strange_bytes_are_refused(tmp_path):
    loop = tmp_path / "loop"
    loop.mkdir()
    (loop / "1.png").symlink_to("1.png")
    with pytest.raises(UserError, match=r"1\.png is a dead link or no file"):
        frame_names(loop)
    (loop / "1.png").unlink()
    (loop / "inside").symlink_to(".")
    touched(loop, "2.png")
    assert frame_names(loop) == (["2.png"], ["inside"])
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(UserError, match="round cannot be read"):
        frame_names(tmp_path / "round")
    with pytest.raises(UserError, match="nowhere holds no picture"):
        frame_names(tmp_path / "nowhere")
    bytes_folder = tmp_path / "bytes"
    bytes_folder.mkdir()
    open(os.fsencode(bytes_folder) + b"/\xe9.png", "wb").close()
    with pytest.raises(UserError, match=r"xe9\.png is a name that is not UTF-8, among frames: rename it"):
        frame_names(bytes_folder)
    open(os.fsencode(loop) + b"/\xe9.txt", "wb").close()
    assert frame_names(loop) == (["2.png"], [r"\xe9.txt", "inside"])


# --- names that count -------------------------------------------------------------------------------


@given(
    head=st.text(string.ascii_letters + " {}%'\"\né0123456789_", max_size=6),
    tail=st.text(string.ascii_letters + " {}%'\"\né0123456789_", max_size=6),
    start=st.integers(0, 20_000),
    width=st.sampled_from([1, 4, 6]),
    count=st.integers(1, 12),
    data=st.data(),
)
def test_names_that_count_up_have_a_pattern_that_gives_each_of_them(head, tail, start, width, count, data):
    assume(not (head[-1:].isdigit() or tail[:1].isdigit()))
    names = [f"{head}{number:0{width}d}{tail}.png" for number in range(start, start + count)]
    key = data.draw(st.integers(0, count - 1))
    series = counted(names, key)
    # Where the number gets longer on the way, its padding may be unknown: then links are right, too.
    assert series is not None or len({len(name) for name in names}) > 1
    if series is not None:
        pattern, number = series
        assert [pattern.format(frame=number + i - key) for i in range(count)] == names


@pytest.mark.parametrize(
    "names",
    [
        ["1.png", "3.png"],
        ["a1.png", "b2.png"],
        ["1403636579763555584.png", "1403636579813555456.png"],
        ["09.png", "10.png", "011.png"],
        ["a.png", "b.png"],
        ["1.jpg", "2.JPG"],
        ["9.png", "010.png"],
        ["\u0661.png", "\u0662.png"],
    ],
)
def test_names_that_do_not_count_up_have_none(names):
    assert counted(names, 0) is None


def test_the_number_that_counts_need_not_be_the_last():
    assert counted(["x7_000019_leftImg8bit.png", "x7_000020_leftImg8bit.png"], 1) == (
        "x7_{frame:06d}_leftImg8bit.png",
        20,
    )


# --- links ------------------------------------------------------------------------------------------


def test_links_lead_to_the_files_even_from_a_results_folder_that_is_a_link(tmp_path):
    folder = touched(tmp_path / "data" / ODD, "10.5.jpg", "9.25.jpg")
    elsewhere = tmp_path / "far" / "away" / "results"
    elsewhere.mkdir(parents=True)
    (tmp_path / "results").symlink_to(elsewhere)
    prepared = tmp_path / "results" / "own" / "prepared"
    files = {4: "9.25.jpg", 5: "10.5.jpg"}
    assert done(link_task("c", files), folder, prepared) == {"files": 2}
    pattern = linked("c", ".jpg").removeprefix(PREPARED)
    for number, name in files.items():
        link = prepared / pattern.format(frame=number)
        assert link.read_bytes() == name.encode() and not link.readlink().is_absolute()


def test_links_are_replaced_and_what_is_stale_goes(tmp_path):
    for version in ("old", "new"):
        touched(tmp_path / version, "a.png", "b.png", "c.png")
    prepared = tmp_path / "prepared"

    def task(version, names):
        return link_task("c", {i: str(tmp_path / version / name) for i, name in enumerate(names)})

    done(task("old", ["a.png", "b.png", "c.png"]), tmp_path, prepared)
    before = (prepared / "frames/c/000000.png").lstat().st_mtime_ns
    done(task("old", ["a.png", "c.png"]), tmp_path, prepared)
    assert sorted(p.name for p in (prepared / "frames/c").iterdir()) == ["000000.png", "000001.png"]
    assert (prepared / "frames/c/000001.png").read_bytes() == b"c.png"
    assert (prepared / "frames/c/000000.png").lstat().st_mtime_ns == before
    done(task("new", ["a.png", "c.png"]), tmp_path, prepared)
    assert "new" in str((prepared / "frames/c/000000.png").resolve())


def test_a_missing_file_is_named_even_where_the_link_was_made_before(tmp_path):
    touched(tmp_path / "data", "a.png")
    task = link_task("c", {0: "a.png"}, "truth")
    done(task, tmp_path / "data", tmp_path / "prepared")
    assert task.outputs == ("truth/c/000000.png",) and linked("c", ".png", "truth").startswith("prepared:truth/c/")
    (tmp_path / "data/a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png does not exist: restore"):
        done(task, tmp_path / "data", tmp_path / "prepared")


# --- videos -----------------------------------------------------------------------------------------


def test_a_video_gives_each_clip_its_frames_by_number(tmp_path):
    film(tmp_path / ODD / "v.mp4", 24)
    video = f"{ODD}/v.mp4"
    assert frame_count(tmp_path / video) == 24
    task = video_task(video, {"a": range(5), "b": [3, 23, 3]})
    facts = done(task, tmp_path, tmp_path / "prepared")
    assert facts == {"frames": 24, "fps": 10, "height": 24, "width": 32}
    made = {p.relative_to(tmp_path / "prepared/frames").as_posix(): grey(p) for p in tmp_path.rglob("*.png")}
    assert made == {f"{c}/{n:06d}.png": n for c, n in [*(("a", n) for n in range(5)), ("b", 3), ("b", 23)]}
    assert image_size(tmp_path / "prepared/frames/b/000003.png") == (24, 32)


def test_a_video_is_decoded_again_only_for_other_frames_and_stale_ones_go(tmp_path):
    film(tmp_path / "v.mp4", 6)
    prepared = tmp_path / "prepared"
    done(video_task("v.mp4", {"a": [0, 1]}), tmp_path, prepared)
    before = (prepared / "frames/a/000001.png").stat().st_mtime_ns
    done(video_task("v.mp4", {"a": [1, 0]}), tmp_path, prepared)
    assert (prepared / "frames/a/000001.png").stat().st_mtime_ns == before
    done(video_task("v.mp4", {"a": [1, 2]}), tmp_path, prepared)
    assert sorted(p.name for p in (prepared / "frames/a").iterdir()) == ["000001.png", "000002.png"]


def header_first(video):
    """The same mp4 with its header in front of the frames, as for streaming: it can be truncated and still opened."""
    data = video.read_bytes()
    start = data.find(b"moov") - 4
    header = bytearray(data[start:])
    table = header.find(b"stco")
    for i in range(int.from_bytes(header[table + 8 : table + 12], "big")):
        at = slice(table + 12 + 4 * i, table + 16 + 4 * i)
        header[at] = (int.from_bytes(header[at], "big") + len(header)).to_bytes(4, "big")
    first = int.from_bytes(data[:4], "big")
    return data[:first] + header + data[first:start]


def test_a_truncated_video_is_refused_even_behind_the_last_wanted_frame(tmp_path):
    whole = header_first(film(tmp_path / "v.mp4", 24))
    (tmp_path / "fast.mp4").write_bytes(whole)
    done(video_task("fast.mp4", {"a": [0]}), tmp_path, tmp_path / "prepared")
    (tmp_path / "fast.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(UserError, match=r"it promises 24 frames, \d+ can be decoded"):
        done(video_task("fast.mp4", {"a": [0]}), tmp_path, tmp_path / "prepared")


def test_a_frame_behind_the_end_is_refused(tmp_path):
    film(tmp_path / "v.mp4", 4)
    with pytest.raises(UserError, match=r"has 4 frames, but frame 4 \(from 0\) is wanted"):
        done(video_task("v.mp4", {"a": [0, 4]}), tmp_path, tmp_path / "prepared")


def test_what_is_no_video_is_refused(tmp_path):
    film(tmp_path / "cut.mp4", 8)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "cut.mp4").read_bytes()[:400])
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    for name, fault in {
        "cut.mp4": "no video, or truncated",
        "text.mp4": "no video, or truncated",
        "empty.mp4": "it is empty",
        "loop.mp4": "does not exist",
        "nowhere.mp4": "does not exist",
    }.items():
        with pytest.raises(UserError, match=fault):
            frame_count(tmp_path / name)


def test_times_without_their_last_noughts_have_no_certain_order(tmp_path):
    for name in ("1.132", "1.924", "1.99", "2.056"):
        (tmp_path / f"{name}.png").touch()
    with pytest.raises(UserError, match="whose order is not certain"):
        frame_names(tmp_path)
    (tmp_path / "1.99.png").rename(tmp_path / "1.990.png")
    assert frame_names(tmp_path)[0] == ["1.132.png", "1.924.png", "1.990.png", "2.056.png"]
