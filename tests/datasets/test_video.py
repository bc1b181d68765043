import csv
import itertools
import shutil

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fewframes.core.clips import read_clips, write_clips
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.core.images import read_image, read_label
from fewframes.core.labels import load_class_table
from fewframes.datasets import index, prepare_dataset
from fewframes.datasets.source import Source

ODD = "a 'b' \"c\"\n{d} %03d, é.ü"
GROUND, BALL = (10, 20, 30), (200, 0, 0)
TABLE = {
    "minutes": {"fine": 30, "coarse": 3},
    "offsets": [-3, 2],
    "classes": [
        {"name": "ground", "id": 4, "train_id": 0, "rgb": list(GROUND)},
        {"name": "ball", "id": 9, "train_id": 1, "rgb": list(BALL), "instances": True},
        {"name": "unknown", "id": 0, "rgb": [0, 0, 0]},
    ],
}


class Own:
    """A dataset of one's own in the making; frame n of anything has the grey level 8 n."""

    def __init__(self, folder):
        self.root = folder / "own"
        self.truth = folder / "truth"
        self.prepared = folder / "prepared"
        self.root.mkdir()
        self.truth.mkdir()
        (folder / "classes.yaml").write_text(yaml.safe_dump(TABLE))
        self.classes = load_class_table(folder / "classes.yaml")

    def frames(self, folder, names):
        for number, name in enumerate(names):
            save(self.root / folder / name, np.full((6, 8, 3), 8 * number, np.uint8))

    def film(self, name, count):
        writer = cv2.VideoWriter(str(self.root / name), cv2.VideoWriter_fourcc(*"mp4v"), 10, (16, 16))
        for number in range(count):
            writer.write(np.full((16, 16, 3), 8 * number, np.uint8))
        writer.release()

    def label(self, name, size=(6, 8), colour=False, below=None):
        ids = np.full(size, 4, np.uint8)
        ids[:2, :3] = 9
        colours = np.where((ids == 9)[..., None], np.uint8(BALL), np.uint8(GROUND))
        save((below or self.root) / name, colours if colour else ids)
        return name

    def instances(self, name, size=(6, 8)):
        save(self.root / name, np.full(size, 9001, np.uint16))
        return name

    def table(self, *rows, name="clips.csv"):
        """Write the CSV."""
        with (self.root / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, dict.fromkeys(column for row in rows for column in row), restval="")
            writer.writeheader()
            writer.writerows(rows)

    def source(self, **options):
        return Source(self.root, self.prepared, self.classes, options, self.truth)

    def prepare(self, **options):
        prepare_dataset("video", self.source(**options), ContentHashes(self.prepared / "hashes", "prepare"))

    def read(self, **options):
        self.prepare(**options)
        return {clip.id: clip for clip in index("video", self.source(**options))}

    def numbers(self, clip):
        """Which frame is read at each offset."""
        return {
            o: round(float(read_image(self.source().root / clip.image_at(o)).mean()) / 8)
            for o in range(clip.first, clip.last + 1)
        }


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def row(clip="a", split="train", frames="walk", key="3.png", fine="labels/a.png", **more):
    return {"clip": clip, "split": split, "frames": frames, "key": key, "fine": fine, **more}


@pytest.fixture
def own(tmp_path):
    made = Own(tmp_path)
    made.frames("walk", [f"{n}.png" for n in range(8)])
    made.label("labels/a.png")
    return made


# --- what is read -----------------------------------------------------------------------------------


def test_a_folder_whose_names_count_is_read_in_place(own):
    own.table(row(), row("b", key="0.png", group="film 2"), row("c", key="7.png"))
    clips = own.read()
    assert {c.id: (c.split, c.group, c.first, c.last, c.frames) for c in clips.values()} == {
        "a": ("train", "walk", -3, 2, "walk/{frame}.png"),
        "b": ("train", "film 2", 0, 2, "walk/{frame:01d}.png"),
        "c": ("train", "walk", -3, 0, "walk/{frame}.png"),
    }
    assert own.numbers(clips["a"]) == {-3: 0, -2: 1, -1: 2, 0: 3, 1: 4, 2: 5}
    assert not (own.prepared / "frames").exists()


def test_colour_and_index_labels_both_become_native_ids(own):
    own.label("labels/colour.png", colour=True)
    own.instances("labels/things.png")
    own.table(
        row(coarse="labels/colour.png", fine_instances="labels/things.png"),
        row("b", key="4.png", fine="") | {"coarse": "labels/colour.png"},
    )
    clips = own.read()
    root = own.source().root
    wanted = read_label(own.root / "labels/a.png")
    for path in (clips["a"].fine, clips["a"].coarse, clips["b"].coarse):
        np.testing.assert_array_equal(read_label(root / path), wanted)
    assert (clips["a"].fine_instances, clips["b"].fine) == ("labels/things.png", "")


def test_timestamps_and_gaps_are_linked_under_their_positions(own):
    names = ["1403636579763555584.jpg", "1403636579813555456.jpg", "1403636580000000000.JPG", "1403636590000000000.jpg"]
    own.frames("drive", names)
    own.table(row(frames="drive", key=names[2]))
    clip = own.read()["a"]
    assert (clip.image, clip.frames, clip.key) == (f"drive/{names[2]}", "prepared:frames/a/{frame:06d}.jpg", 2)
    assert own.numbers(clip) == {-2: 0, -1: 1, 0: 2, 1: 3}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from(["", "f", "x1_", "{a}", "0"]),
    width=st.sampled_from([1, 3, 6]),
    start=st.sampled_from([0, 1, 7, 96, 997, 99_998]),
    steps=st.lists(st.sampled_from([1, 1, 1, 2, 40]), min_size=1, max_size=7),
    tail=st.sampled_from(["", "_left8", "é"]),
    data=st.data(),
)
def test_whatever_the_names_each_offset_reads_the_frame_that_was_meant(
    tmp_path_factory, head, width, start, steps, tail, data
):
    own = Own(tmp_path_factory.mktemp("any"))
    numbers = [start, *(start + total for total in itertools.accumulate(steps))]
    names = [f"{head}{number:0{width}d}{tail}.png" for number in numbers]
    own.frames("walk", names)
    own.label("labels/a.png")
    key = data.draw(st.integers(0, len(names) - 1))
    own.table(row(key=names[key]))
    clip = own.read()["a"]
    assert (clip.first, clip.last) == (-min(3, key), min(2, len(names) - 1 - key))
    assert own.numbers(clip) == {o: key + o for o in range(clip.first, clip.last + 1)}
    if set(steps) == {1} and len({len(name) for name in names}) == 1:
        assert clip.frames.startswith("walk/") and not (own.prepared / "frames").exists()


def test_a_video_is_read_by_frame_number(own):
    own.film("film.mp4", 12)
    own.label("labels/film.png", (16, 16), colour=True)
    own.table(
        row(frames="film.mp4", key="0", fine="labels/film.png"),
        row("b", frames="film.mp4", key="011", fine="labels/film.png"),
    )
    clips = own.read()
    assert own.numbers(clips["a"]) == {0: 0, 1: 1, 2: 2}
    assert own.numbers(clips["b"]) == {-3: 8, -2: 9, -1: 10, 0: 11}
    assert clips["b"].group == "film.mp4"


def test_a_still_is_its_own_image(own):
    own.table(row(frames="", key="walk/5.png", split="val"))
    clip = own.read()["a"]
    assert (clip.image, clip.frames, clip.first, clip.last, clip.group) == ("walk/5.png", "", 0, 0, "walk/5.png")


def test_dense_truth_is_found_in_place_or_linked(own):
    own.film("film.mp4", 6)
    own.frames("drive", [f"{n}.5.png" for n in (10, 12, 19)])
    own.label("labels/film.png", (16, 16))
    for name in ("walk/1.png", "walk/4.png", "film/000003.png", "drive/10.5.png", "drive/19.5.png"):
        own.label(name, below=own.truth)
    own.table(
        row(truth="walk"),
        row("b", frames="film.mp4", key="2", fine="labels/film.png", truth="film"),
        row("c", frames="drive", key="12.5.png", truth="drive"),
        row("d", key="6.png"),
    )
    clips = own.read()
    truth = Source(own.truth, own.prepared, own.classes).root
    there = {
        i: [o for o in range(c.first, c.last + 1) if c.truth and (truth / c.truth_at(o)).is_file()]
        for i, c in clips.items()
    }
    assert there == {"a": [-2, 1], "b": [1], "c": [-1, 1], "d": []}
    assert (truth / clips["c"].truth_at(1)).resolve() == own.truth / "drive/19.5.png"
    assert clips["a"].truth == "walk/{frame}.png" and clips["b"].truth == "film/{frame:06d}.png"


def test_truth_of_linked_frames_is_linked_even_where_its_own_names_count(own):
    own.frames("drive", ["7.JPG", "8.jpg", "9.jpg"])
    own.label("drive/9.png", below=own.truth)
    own.table(row(frames="drive", key="8.jpg", truth="drive"))
    clip = own.read()["a"]
    assert own.numbers(clip) == {-1: 0, 0: 1, 1: 2}
    assert (Source(own.truth, own.prepared, own.classes).root / clip.truth_at(1)).resolve().name == "9.png"


def test_odd_names_are_names_like_any_other(own):
    own.frames(ODD, [f"{ODD}{n}.png" for n in range(3)])
    own.frames(f"stamps {ODD}", [f"{ODD}{n}.png" for n in (1, 5)])
    own.film(f"{ODD}.mp4", 4)
    own.label(f"{ODD}/labels/{ODD}.png")
    own.label("labels/film.png", (16, 16))
    own.label(f"{ODD}/{ODD}0.png", below=own.truth)
    own.table(
        row(frames=ODD, key=f"{ODD}1.png", fine=f"{ODD}/labels/{ODD}.png", truth=ODD, group=ODD),
        row("b", frames=f"stamps {ODD}", key=f"{ODD}1.png"),
        row("c", frames=f"{ODD}.mp4", key="3", fine="labels/film.png"),
    )
    clips = own.read()
    write_clips(own.prepared / "index.csv", clips.values())
    assert {c.id: c for c in read_clips(own.prepared / "index.csv")} == clips
    assert [own.numbers(clips[i]) for i in "abc"] == [{-1: 0, 0: 1, 1: 2}, {0: 0, 1: 1}, {-3: 0, -2: 1, -1: 2, 0: 3}]
    assert (own.truth / clips["a"].truth_at(-1)).is_file()


def test_the_csv_may_have_another_name_a_byte_order_mark_and_short_rows(own):
    text = "clip,split,fine,key,frames,coarse,group\r\n\r\na,train,labels/a.png,3.png,./walk\r\n"
    (own.root / "mine.csv").write_text("\ufeff" + text, newline="")
    clip = own.read(clips="mine.csv")["a"]
    assert (clip.frames, clip.group) == ("walk/{frame}.png", "walk")


def test_a_link_that_the_user_made_may_lead_elsewhere(own, tmp_path):
    (tmp_path / "disk").mkdir()
    (own.root / "walk").rename(tmp_path / "disk/walk")
    (own.root / "walk").symlink_to(tmp_path / "disk/walk")
    own.table(row())
    assert len(own.numbers(own.read()["a"])) == 6


def test_a_loop_of_links_is_not_followed(own):
    (own.root / "walk/round").symlink_to(own.root)
    (own.root / "round").symlink_to("round")
    own.table(row())
    source = own.source()
    prepare_dataset("video", source, ContentHashes(own.prepared / "hashes", "prepare"))
    assert [c.id for c in index("video", source)] == ["a"]
    assert source.left_out.rows == [("no picture, among frames", "walk/round")]
    own.table(row(frames="round"))
    with pytest.raises(UserError, match="'frames' names 'round', which does not exist"):
        own.read()


def test_the_dataset_is_only_read(own):
    own.table(row())
    before = sorted(own.root.rglob("*"))
    own.read()
    assert sorted(own.root.rglob("*")) == before


@pytest.mark.parametrize("kind", ["fine_instances", "coarse", "coarse_instances"])
def test_every_label_has_its_frames_size(own, kind):
    own.label("labels/coarse.png")
    (own.label if kind == "coarse" else own.instances)("labels/odd.png", (6, 9))
    both = {"coarse": "labels/coarse.png"} if kind.startswith("coarse") else {"fine": "labels/a.png"}
    own.table(row() | {"fine": "", **both, kind: "labels/odd.png"})
    with pytest.raises(
        UserError, match=rf"line 2: '{kind}' names 'labels/odd\.png', which is 9x6, but its frame is 8x6"
    ):
        own.read()


def test_blanks_around_plain_cells_mean_nothing(own):
    own.film("film.mp4", 4)
    own.label("labels/film.png", (16, 16))
    own.table(
        row(" a ", " train", group="drive ", coarse=" "),
        row("b", "train ", frames="film.mp4", key=" 2", fine="labels/film.png"),
    )
    clips = own.read()
    assert (clips["a"].split, clips["a"].group, clips["a"].coarse, clips["b"].split) == ("train", "drive", "", "train")
    assert clips["b"].key == 2


def test_blanks_at_the_ends_of_a_name_that_has_them_stay(own):
    own.frames(" walk ", ["1.png", "2.png"])
    own.table(row(frames=" walk ", key="1.png"))
    assert own.read()["a"].image == " walk /1.png"


# --- clips of different splits ----------------------------------------------------------------------


def apart(own, *rows):
    own.table(*rows)
    with pytest.raises(UserError) as caught:
        own.prepare()
    return str(caught.value)


def test_folders_of_links_to_one_video_hide_no_shared_frame(own):
    own.frames("long", [f"{n}.png" for n in range(20)])
    for folder, numbers in (("first", range(0, 12)), ("second", range(6, 20))):
        (own.root / folder).mkdir()
        for n in numbers:
            (own.root / folder / f"{n}.png").symlink_to(f"../long/{n}.png")
    for frames in ("second", "long"):
        said = apart(own, row(frames="first", key="6.png"), row("b", "val", frames, "8.png"))
        assert "line 3: its frames are partly those of line 2 in split 'train'" in said
    own.table(row(frames="first"), row("b", "val", "second", "12.png"))
    assert len(own.read()) == 2


def test_clips_of_one_split_may_share_frames_and_of_two_may_touch(own):
    own.frames("long", [f"{n}.png" for n in range(20)])
    near, far = row("b", "val", "long", "9.png"), row("c", "val", "long", "10.png")
    own.table(row(frames="long"), far)
    clips = own.read()
    assert set(own.numbers(clips["a"]).values()).isdisjoint(own.numbers(clips["c"]).values())
    own.table(row(frames="long"), row("d", frames="long", key="4.png"), far)
    assert len(own.read()) == 3
    own.table(row(frames="long"), near)
    assert len(own.read()) == 2
    said = apart(own, row(frames="long"), row("b", "val", "long", "8.png"), far)
    assert "1 of 3 rows" in said and "line 3: its frames are partly those of line 2 in split 'train': give both" in said
    assert said.endswith("annotate frames that are at least 6 apart.")
    assert "line 3" in apart(own, row("b", "val", "long", "8.png"), row(frames="long"), far)


def test_a_folder_is_one_however_it_is_reached(own, tmp_path):
    (own.root / "round").symlink_to("walk")
    assert "line 3" in apart(own, row(), row("b", "val", "round", "5.png"))
    assert "line 3" in apart(own, row(), row("b", "val", "", "walk/5.png"))
    assert "line 3" in apart(own, row("b", "val", "", "round/5.png"), row())
    own.table(row(), row("b", "val", "", "round/6.png"))
    assert len(own.read()) == 2
    (own.root / "still.png").symlink_to("walk/6.png")
    assert "line 3" in apart(own, row("a", "val", "", "walk/6.png"), row("b", "train", "", "still.png"))


def test_frames_that_gaps_part_are_near_all_the_same(own):
    own.frames("gaps", ["1.png", "5.png", "80.png"])
    assert "line 3" in apart(own, row(frames="gaps", key="1.png"), row("b", "val", "gaps", "80.png"))


def test_a_videos_frames_are_in_one_split(own):
    own.film("film.mp4", 12)
    own.label("labels/film.png", (16, 16))
    rows = [
        row(frames="film.mp4", key="2", fine="labels/film.png"),
        row("b", "val", "film.mp4", "7", "labels/film.png"),
    ]
    assert "line 3" in apart(own, *rows)
    own.table(rows[0], rows[1] | {"key": "8"})
    assert len(own.read()) == 2


# --- what is prepared, and when ---------------------------------------------------------------------


def test_nothing_is_made_twice_and_a_changed_label_is_made_alone(own, capsys):
    own.label("labels/b.png")
    own.table(row(), row("b", key="4.png", fine="labels/b.png"))
    own.prepare()
    own.prepare()
    assert "prepared 0, found 2" in capsys.readouterr().err
    own.label("labels/b.png", colour=True)
    own.prepare()
    assert "prepared 1, found 1" in capsys.readouterr().err


def test_links_follow_the_frames_when_one_is_taken_out(own):
    own.frames("gaps", ["1.png", "3.png", "5.png", "9.png", "11.png"])
    own.table(row(frames="gaps", key="3.png"))
    assert own.numbers(own.read()["a"]) == {-1: 0, 0: 1, 1: 2, 2: 3}
    (own.root / "gaps/5.png").unlink()
    assert own.numbers(own.read()["a"]) == {-1: 0, 0: 1, 1: 3, 2: 4}


def test_another_dataset_of_the_same_names_is_linked_anew(own):
    own.frames("gaps", ["1.png", "5.png"])
    own.table(row(frames="gaps", key="1.png"))
    own.read()
    shutil.copytree(own.root, own.root.with_name("other"))
    own.root = own.root.with_name("other")
    own.frames("gaps", ["5.png", "1.png"])
    assert own.numbers(own.read()["a"]) == {0: 1, 1: 0}


def test_what_was_not_prepared_is_named(own):
    own.table(row())
    with pytest.raises(UserError, match=r"labels/a_fine\.png is not prepared: run"):
        index("video", own.source())


# --- what is refused --------------------------------------------------------------------------------

FAULTS = {
    "no id": (row(""), "clip id '' must be"),
    "bad id": (row("a b"), "clip id 'a b' must be letters"),
    "id that leads away": (row("../a"), "clip id '../a' must be letters"),
    "no split": (row(split=""), "'split' is empty"),
    "no label": (row(fine=""), "'fine' and 'coarse' are both empty"),
    "blank behind a folder": (row(frames="walk "), "'frames' is 'walk ', with blanks around the name: remove them"),
    "blank before a label": (row(fine=" labels/a.png"), "'fine' is ' labels/a.png', with blanks around"),
    "blank behind a key": (row(key="3.png "), "'key' is '3.png ', with blanks around"),
    "objects without label": (
        row(coarse_instances="labels/a.png"),
        "'coarse_instances' is given but 'coarse' is empty",
    ),
    "carriage return": (row(frames="a\rb"), "holds a carriage return, which no CSV keeps"),
    "parent": (row(frames="../elsewhere"), "'../elsewhere' leads out of the dataset's folder"),
    "parent within": (row(fine="walk/../../a.png"), "leads out of the dataset's folder"),
    "absolute": (row(frames="", key="/etc/passwd"), "'/etc/passwd' leads out of the dataset's folder"),
    "truth outside": (row(truth="../t"), "'../t' leads out"),
    "prepared": (row(frames="prepared:../x"), "begins with 'prepared:', which is taken"),
    "no frames": (row(frames="nowhere"), "'frames' names 'nowhere', which does not exist"),
    "impossible name": (row(frames="x" * 5000), "which does not exist"),
    "null byte": (row(frames="a\0b"), r"names 'a\\x00b', which does not exist"),
    "neither folder nor video": (row(frames="labels/a.png"), r"is not a folder or a video \(\.mp4, "),
    "no label file": (row(fine="labels/b.png"), "'fine' names 'labels/b.png', which does not exist"),
    "label of a kind": (row(fine="clips.csv"), r"'fine' names 'clips.csv', which is not a file \(\.png\)"),
    "label is a folder": (row(fine="walk"), "'fine' names 'walk', which is not a file"),
    "no instances": (row(fine_instances="labels/b.png"), "'fine_instances' names 'labels/b.png', which does not"),
    "key not in folder": (row(key="03.png"), "'key' is '03.png', no file of 'walk': .*such as '0.png'"),
    "still of a kind": (row(frames="", key="clips.csv"), r"'key' names 'clips.csv', which is not a file \(\.png, "),
    "no key": (row(frames="", key=""), "'key' names '.', which is not a file"),
    "label among frames": (row(fine="walk/4.png"), "'fine' lies among the frames of 'walk'"),
    "no truth": (row(truth="walk"), "'truth' names 'walk', where no frame .* such as '3.png'"),
    "behind the end": (row(frames="film.mp4", key="4"), "'key' is '4', but 'film.mp4' has the frames 0 to 3"),
    "before the start": (row(frames="film.mp4", key="-1"), "'key' is '-1', but 'film.mp4' has"),
    "no number": (row(frames="film.mp4", key="1.png"), "'key' is '1.png', but 'film.mp4' has"),
    "no video": (row(frames="broken.mp4", key="1"), "broken.mp4 cannot be opened"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_row_is_named_with_its_line_and_the_mend(own, case):
    wrong, fault = FAULTS[case]
    own.film("film.mp4", 4)
    (own.root / "broken.mp4").write_text("no video")
    own.table(wrong)
    with pytest.raises(UserError, match=rf"^1 of 1 rows cannot be used, the first: .*clips\.csv, line 2: .*{fault}"):
        own.prepare()


def test_all_faulty_rows_are_found_in_one_go(own, capsys):
    with (own.root / "clips.csv").open("w", encoding="utf-8") as file:
        file.write("clip,split,frames,key,fine\n")
        file.write("a,train,walk,3.png,labels/a.png\n")
        file.write('b,train,walk,"no\nsuch.png",labels/a.png\n\n')
        file.write("a,train,walk,4.png,labels/a.png\n")
        file.write("c,train,./walk,3.png,labels/a.png\n")
        file.write("d,train,walk,5.png,labels/a.png\n")
    with pytest.raises(UserError, match=r"^3 of 5 rows cannot be used, the first: .*line 3: 'key' is 'no\\nsuch\.png'"):
        own.prepare()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fault: ")]
    assert len(said) == 3
    assert "line 6: the clip id 'a' is that of line 2 already" in said[1]
    assert "line 7: the frame '3.png' is that of line 2 already" in said[2]


def test_a_frame_of_a_video_is_annotated_once(own):
    own.film("film.mp4", 4)
    own.table(row(frames="film.mp4", key="2"), row("b", frames="film.mp4", key="02"), row("c", key="2.png"))
    with pytest.raises(UserError, match=r"1 of 3 rows .* line 3: the frame '02' is that of line 2"):
        own.prepare()


def test_a_table_that_is_not_there_is_named(own):
    with pytest.raises(UserError, match=r"mine\.csv does not exist: write it, or name another in dataset\.options"):
        own.read(clips="mine.csv")
    shutil.copy(own.root / "labels/a.png", own.root.with_name("clips.csv"))
    with pytest.raises(UserError, match=r"dataset\.options\.clips: '\.\./clips\.csv' leads out"):
        own.read(clips="../clips.csv")
    with pytest.raises(
        UserError, match=r"dataset\.options\.csv is no option of the reader 'video': choose among clips"
    ):
        own.read(csv="mine.csv")


def test_a_label_of_another_size_or_colour_is_named(own):
    own.label("labels/a.png", (6, 9))
    own.table(row())
    with pytest.raises(UserError, match=r"line 2: 'fine' names 'labels/a\.png', which is 9x6, but its frame is 8x6"):
        own.read()
    save(own.root / "labels/a.png", np.full((6, 8, 3), 77, np.uint8))
    with pytest.raises(UserError, match=r"labels/a\.png holds 1 colours that no class of 'classes' has"):
        own.prepare()
