import numpy as np
import pytest
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.core.images import read_label
from fewframes.core.labels import load_class_table
from fewframes.datasets import index, prepare_dataset
from fewframes.datasets.source import Source

CLASSES = load_class_table("camvid")
ORIGINAL = load_class_table("camvid-original")


def source(root, options, classes=CLASSES):
    return Source(root, root.parent / "prepared", classes, options)


def read(root, options):
    return index("camvid", source(root, options))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "segnet"
    frames = {"video": [f"0016E5_{n:05d}" for n in range(7959, 7989, 2)], "train": ["0001TP_006690", "0006R0_f00930"]}
    for folder, stems in frames.items():
        for kind in (folder, f"{folder}annot"):
            (root / kind).mkdir(parents=True)
        for stem in stems:
            Image.new("RGB", (8, 4)).save(root / folder / f"{stem}.png")
            Image.new("L", (8, 4)).save(root / f"{folder}annot" / f"{stem}.png")
    return root


def test_every_frame_of_a_video_is_a_key_frame(root):
    clips = read(root, {"sequences": ["video"], "key_every": 5})
    assert len(clips) == 15
    assert [c.split for c in clips[:6]] == ["train", "measure", "measure", "measure", "measure", "train"]
    assert (clips[0].first, clips[0].last, clips[0].step) == (0, 18, 2)
    assert (clips[5].first, clips[5].last) == (-10, 18)
    assert clips[5].image_at(-2) == "video/0016E5_07967.png"
    assert clips[5].truth_at(4) == "videoannot/0016E5_07973.png"


def test_stills_keep_to_their_videos_and_have_no_neighbours(root):
    options = {"stills": {"train": "val"}, "videos": ["0006R0"]}
    (clip,) = read(root, options)
    assert (clip.id, clip.split, clip.group, clip.first, clip.last) == ("0006R0_f00930", "val", "0006R0", 0, 0)


def test_a_still_to_score_on_within_a_trained_clip_is_refused(root):
    for kind, mode in (("train", "RGB"), ("trainannot", "L")):
        Image.new(mode, (8, 4)).save(root / kind / "0016E5_07960.png")
    options = {"sequences": ["video"], "stills": {"train": "val"}}
    with pytest.raises(UserError, match=r"0016E5_07960\.png, of split 'val', lies within the clip of 0016E5_07959"):
        read(root, options)
    assert len(read(root, {**options, "videos": ["0001TP", "0006R0"]})) == 17


def test_pictures_without_label_or_number_are_noted(root):
    (root / "trainannot/0001TP_006690.png").unlink()
    Image.new("RGB", (8, 4)).save(root / "train/montage.png")
    given = source(root, {"stills": {"train": "val"}})
    assert [clip.id for clip in index("camvid", given)] == ["0006R0_f00930"]
    assert given.left_out.rows == [
        ("no frame number at the end of the name", "train/montage.png"),
        ("no label in trainannot", "0001TP_006690.png"),
    ]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"sequences": ["video"], "key_every": 0}, "key_every is 0: give a whole number from 1"),
        ({"sequences": ["video"], "key_every": "two"}, "key_every is 'two'"),
        ({"sequences": ["video"], "key_every": True}, "key_every is True"),
        ({"stills": ["train"]}, "stills is .* map each folder to its split"),
        ({"stills": {"train": 3}}, "stills is .* map each folder to its split"),
        ({"stills": {"../train": "val"}}, "stills: '../train' leads out"),
        ({"sequences": [3]}, r"sequences is \[3\]: give a list of names"),
        ({"sequences": "video"}, "sequences is 'video': give a list of names"),
        ({"sequences": ["/video"]}, "sequences: '/video' leads out"),
        ({"stills": {"train": "val"}, "videos": "0006R0"}, "videos is '0006R0': give a list"),
    ],
)
def test_an_option_of_the_wrong_kind_is_named(root, options, fault):
    with pytest.raises(UserError, match=rf"^dataset\.options\.{fault}"):
        read(root, options)


def test_a_missing_folder_is_named(root):
    with pytest.raises(UserError, match="nothing does not exist"):
        read(root, {"sequences": ["nothing"]})


STEMS = ["0001TP_006690", "0006R0_f00930", "0006R0_f00960", "0016E5_07959", "0016E5_07961", "0016E5_07963"]
PUBLISHED = ("701_StillsRaw_full", "LabeledApproved_full")


def original(root, images=PUBLISHED[0], labels=PUBLISHED[1], stems=STEMS):
    """A tree of 8x4 stills; pixel (0, 0) of a label is a wall, (0, 1) a child, (0, 2) void, all else road."""
    label = np.full((4, 8, 3), (128, 64, 128), np.uint8)
    label[0, :3] = (64, 192, 0), (192, 128, 64), (0, 0, 0)
    for folder in (images, labels):
        (root / folder).mkdir(parents=True)
    for stem in stems:
        Image.new("RGB", (8, 4)).save(root / images / f"{stem}.png")
        Image.fromarray(label).save(root / labels / f"{stem}_L.png")
    return root


def frames(root, folder, names):
    (root / folder).mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 4)).save(root / folder / f"{name}.png")


def prepared(root, **options):
    given = source(root, {"layout": "original", **options}, ORIGINAL)
    prepare_dataset("camvid", given, ContentHashes(root.parent / "hashes", "prepare"))
    return {clip.id: clip for clip in index("camvid", given)}, given


def test_labels_of_32_colours_are_prepared_as_ids(tmp_path):
    clips, given = prepared(original(tmp_path / "camvid"), splits={"train": ["0001TP", "0016E5"], "val": ["0006R0"]})
    assert sorted(clips) == STEMS
    assert [clips[stem].split for stem in STEMS] == ["train", "val", "val", "train", "train", "train"]
    clip = clips["0006R0_f00930"]
    assert (clip.group, clip.image, clip.frames) == ("0006R0", "701_StillsRaw_full/0006R0_f00930.png", "")
    label = read_label(given.root / clip.fine)
    assert ORIGINAL.to_train_ids(label, clip.fine)[0, :4].tolist() == [1, 9, 255, 3]
    assert given.left_out.rows == []


def test_splits_come_from_videos_and_from_text_files_that_go_before(tmp_path):
    root = original(tmp_path / "camvid")
    (root / "val.txt").write_text("/data/val/0016E5_07961.png /data/valannot/0016E5_07961.png\n\n0016E5_09999\n")
    clips, given = prepared(root, splits={"train": ["0016E5", "001TP"], "val": "val.txt"})
    assert {stem: clip.split for stem, clip in clips.items()} == {
        "0016E5_07959": "train",
        "0016E5_07961": "val",
        "0016E5_07963": "train",
    }
    absent = "in dataset.options.splits, but there is no such still or video"
    unused = [("in none of dataset.options.splits", stem) for stem in STEMS[:3]]
    assert given.left_out.rows == [(absent, "0016E5_09999"), (absent, "001TP"), *unused]


def test_extracted_frames_are_the_neighbours_of_stills(tmp_path):
    root = original(tmp_path / "camvid")
    frames(root, "video", [f"0001TP_{n:06d}" for n in range(6690 - 30, 6690 + 5)])
    frames(root, "video", [f"0006R0_{n:05d}" for n in range(930, 961, 5)])
    frames(root, "video", ["0006R0_f00900", "cover"])
    clips, given = prepared(root, splits={"train": ["0001TP", "0006R0", "0016E5"]}, frames="video")
    first = clips["0001TP_006690"]
    assert (first.key, first.step, first.first, first.last) == (6690, 1, -18, 4)
    assert first.image_at(-3) == "video/0001TP_006687.png" and first.image_at(0).startswith("701_StillsRaw_full/")
    fifth = clips["0006R0_f00960"]
    assert (fifth.step, fifth.first, fifth.last) == (5, -15, 0)
    assert fifth.image_at(-5) == "video/0006R0_00955.png"
    assert clips["0016E5_07959"].frames == ""
    alone = [("no frame of the video next to the still", stem) for stem in STEMS[3:]]
    assert given.left_out.rows == [
        ("named unlike most frames of 0006R0", "video/0006R0_f00900.png"),
        ("no frame number at the end of the name", "video/cover.png"),
        *alone,
    ]


def test_no_frame_is_in_clips_of_two_splits(tmp_path):
    root = original(tmp_path / "camvid", stems=["0016E5_07960", "0016E5_07980", "0016E5_07991"])
    frames(root, "video", [f"0016E5_{n:05d}" for n in range(7930, 8020)])
    (root / "val.txt").write_text("0016E5_07980\n")
    clips, given = prepared(root, splits={"train": ["0016E5"], "val": "val.txt"}, frames="video")
    reached = {stem: (clip.key + clip.first, clip.key + clip.last) for stem, clip in clips.items()}
    assert reached == {
        "0016E5_07960": (7942, 7969),
        "0016E5_07980": (7971, 7985),
        "0016E5_07991": (7986, 8009),
    }
    assert given.left_out.rows == [
        ("frames nearer to a still of another split, where the clip is cut", stem) for stem in sorted(clips)
    ]
    clips, given = prepared(root, splits={"train": ["0016E5"]}, frames="video")
    assert {(clip.first, clip.last) for clip in clips.values()} == {(-18, 18)} and not given.left_out.rows


def test_a_cut_clip_keeps_whole_steps(tmp_path):
    root = original(tmp_path / "camvid", stems=["0016E5_07960", "0016E5_07980"])
    frames(root, "video", [f"0016E5_{n:05d}" for n in range(7930, 8020, 5)])
    (root / "val.txt").write_text("0016E5_07980\n")
    clips, _ = prepared(root, splits={"train": ["0016E5"], "val": "val.txt"}, frames="video")
    assert [(clip.step, clip.first, clip.last) for clip in clips.values()] == [(5, -15, 5), (5, -5, 15)]


def test_stills_at_15_hz_are_each_others_neighbours_and_truth(tmp_path):
    clips, given = prepared(original(tmp_path / "camvid"), splits={"measure": ["0016E5"]}, frames=PUBLISHED[0])
    clip = clips["0016E5_07961"]
    assert (clip.step, clip.first, clip.last) == (2, -2, 2)
    assert clip.image_at(2) == "701_StillsRaw_full/0016E5_07963.png"
    assert clip.truth_at(2) == clips["0016E5_07963"].fine
    assert read_label(given.root / clip.truth_at(-2)).shape == (4, 8)


def test_tmanets_variant_is_a_matter_of_names(tmp_path):
    root = original(tmp_path / "camvid", images="images", labels="labels")
    frames(root, "image_sequence", [f"0001TP_{n:06d}" for n in range(6680, 6700)])
    frames(root, "image_sequence", [f"0006R0_f{n:05d}" for n in range(920, 940)])
    (root / "train.txt").write_text("0001TP_006690\n0006R0_f00930\n")
    clips, _ = prepared(root, images="images", labels="labels", frames="image_sequence", splits={"train": "train.txt"})
    assert {stem: (clip.first, clip.last) for stem, clip in clips.items()} == {
        "0001TP_006690": (-10, 9),
        "0006R0_f00930": (-10, 9),
    }
    assert clips["0006R0_f00930"].image_at(-10) == "image_sequence/0006R0_f00920.png"


def test_a_damaged_published_label_loses_only_its_damaged_pixels(tmp_path):
    root = original(tmp_path / "camvid", stems=["Seq05VD_f02610"])
    label = np.full((40, 50, 3), (128, 64, 128), np.uint8)
    label[2, 1] = (26, 26, 26)
    Image.fromarray(label).save(root / PUBLISHED[1] / "Seq05VD_f02610_L.png")
    Image.new("RGB", (50, 40)).save(root / PUBLISHED[0] / "Seq05VD_f02610.png")
    clips, given = prepared(root, splits={"train": ["Seq05VD"]})
    assert (read_label(given.root / clips["Seq05VD_f02610"].fine) == 11).sum() == 1
    assert given.left_out.rows == [
        ("pixels of a colour that no class has, ignored", "LabeledApproved_full/Seq05VD_f02610_L.png")
    ]


def test_faults_in_the_options_are_named(tmp_path):
    root = original(tmp_path / "camvid")
    (root / "LabeledApproved_full/0001TP_006690_L.png").unlink()
    clips, given = prepared(root, splits={"train": ["0001TP", "0006R0"]})
    assert "0001TP_006690" not in clips
    assert ("no label in LabeledApproved_full", "0001TP_006690") in given.left_out.rows
    faults = {
        r"layout is 'pets': choose segnet or original": {"layout": "pets"},
        r"sequences is not for the layout 'original'": {"sequences": ["a"]},
        r"splits must map": {},
        r"splits must map .*": {"splits": {"train": None}},
        r"absent\.txt cannot be read": {"splits": {"train": "absent.txt"}},
        r"splits has 0006R0 in 'train' and in 'val'": {"splits": {"train": ["0006R0"], "val": ["0006R0"]}},
        r"Labels does not exist": {"splits": {"train": ["0006R0"]}, "labels": "Labels"},
        r"options\.splits: '\.\./val\.txt' leads out": {"splits": {"train": "../val.txt"}},
        r"options\.labels: '/tmp' leads out": {"splits": {"train": ["0006R0"]}, "labels": "/tmp"},
        r"options\.images is 3: give a path": {"splits": {"train": ["0006R0"]}, "images": 3},
        r"options\.frames: '\.\.' leads out": {"splits": {"train": ["0006R0"]}, "frames": ".."},
        r"holds no annotated frame": {"splits": {"train": ["0005VD"]}},
    }
    for fault, options in faults.items():
        with pytest.raises(UserError, match=fault):
            read(root, {"layout": "original", **options})
    with pytest.raises(UserError, match="splits is not for the layout 'segnet'"):
        read(root, {"splits": {"train": ["0006R0"]}})
