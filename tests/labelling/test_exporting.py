"""Made labels out to other tools: what is written, under which names, and what is refused."""

import io
import json
import unicodedata
import zipfile

import numpy as np
import pytest
import yaml
from PIL import Image

from fewframes.core.clips import LABEL_COLUMNS, Clip, write_clips
from fewframes.core.errors import UserError
from fewframes.core.files import content_hash, write_csv
from fewframes.core.labelfile import Layer, read_fingerprints, write_label_file
from fewframes.core.labels import load_class_table
from fewframes.labelling.exporting import FORMS, form_module, image_hash, read_frames
from fewframes.labelling.exporting.classes import read_classes
from fewframes.labelling.exporting.cvat import IGNORED, task_labels
from fewframes.labelling.exporting.driver import export
from fewframes.labelling.exporting.segments import find_segments

CLASSES = load_class_table("cityscapes")
SIZE = (24, 40)
ROAD, CAR = 0, 13


def city(key=19, sequence="000000", split="train", **changes):
    stem = f"aachen_{sequence}"
    facts = {"id": f"{stem}_{key:06d}", "split": split, "group": stem, "key": key, "first": -2, "last": 2}
    facts["image"] = f"leftImg8bit/{split}/aachen/{stem}_{key:06d}_leftImg8bit.png"
    facts["frames"] = f"leftImg8bit_sequence/{split}/aachen/{stem}_{{frame:06d}}_leftImg8bit.png"
    return Clip(**{**facts, **changes})


class Made:
    """A dataset with made labels: random ones in blocks, a fifth of it ignored."""

    def __init__(self, folder, clips, classes=CLASSES, kind="pseudo", offsets=None):
        self.root, self.results, self.classes = folder / "data", folder / "results", classes
        self.labels, rows = {}, []
        rng = np.random.default_rng(0)
        write_clips(self.results / "index.csv", clips)
        for clip in clips:
            layers = {}
            for offset in offsets or range(clip.first, clip.last + 1):
                image = self.root / clip.image_at(offset)
                image.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)).save(image)
                blocks = rng.integers(0, len(classes.trained) * 5 // 4 + 1, (6, 10)).repeat(4, 0).repeat(4, 1)
                label = np.where(blocks < len(classes.trained), blocks, 255).astype(np.uint8)
                layers[offset] = Layer(label, f"made-{clip.id}-{offset}")
                self.labels[clip.id, offset] = label
            file = f"{kind}/flow/labels/{clip.id}.h5"
            write_label_file(self.results / file, layers, {})
            rows += [[clip.id, o, file, *read_fingerprints(self.results / file)[o]] for o in layers]
        self.csv = self.results / kind / "flow" / "labels.csv"
        write_csv(self.csv, LABEL_COLUMNS, rows)

    def export(self, form, out, **options):
        return export(form, self.csv, self.results, self.root, self.classes, out, **options)


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path, [city(), city(21, "000001", "val")])


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def pixels(source):
    return np.array(Image.open(source))


def test_cityscapes_names_stand_beside_the_sequences_own(made, tmp_path):
    out = tmp_path / "out"
    assert made.export("cityscapes", out) == 10
    assert "gtFine/train/aachen/aachen_000000_000021_gtFine_labelIds.png" in files(out)
    assert "gtFine/val/aachen/aachen_000001_000021_gtFine_color.png" in files(out)
    assert len(files(out)) == 3 * 10 + 2
    label = made.labels["aachen_000000_000019", 2]
    stem = out / "gtFine/train/aachen/aachen_000000_000021_gtFine"
    assert (pixels(f"{stem}_labelIds.png") == CLASSES.to_native_ids(label)).all()
    assert (pixels(f"{stem}_labelTrainIds.png") == label).all()
    assert (pixels(f"{stem}_color.png") == CLASSES.colour(label)).all()


@pytest.mark.parametrize("form", FORMS)
def test_the_listing_says_what_each_label_is(made, tmp_path, form):
    made.export(form, tmp_path / "out", offsets=[-1, 2], splits=["train"])
    frames = read_frames(tmp_path / "out")
    assert [(f.clip, f.offset) for f in frames] == [("aachen_000000_000019", -1), ("aachen_000000_000019", 2)]
    frame = frames[1]
    assert (frame.name, frame.kind, frame.method, frame.split) == ("aachen_000000_000021", "pseudo", "flow", "train")
    assert (frame.height, frame.width) == SIZE and len(frame.image_hash) == 16
    assert frame.image == "leftImg8bit_sequence/train/aachen/aachen_000000_000021_leftImg8bit.png"
    layer = Layer(made.labels[frame.clip, frame.offset], "")
    assert (frame.fingerprint, frame.checksum) == ("made-aachen_000000_000019-2", layer.checksum)


@pytest.mark.parametrize(("form", "expected"), [("cityscapes", 10), ("coco", 10), ("cvat", 8)])
def test_only_a_review_leaves_the_annotation_itself_out(made, tmp_path, form, expected, capsys):
    assert made.export(form, tmp_path / "out") == expected
    assert ("2 key frames left out" in capsys.readouterr().err) == (form == "cvat")
    assert made.export(form, tmp_path / "zero", offsets=[0]) == 2


def test_refined_labels_are_of_the_key_frame(tmp_path):
    made = Made(tmp_path, [city()], kind="refined", offsets=[0])
    assert made.export("cvat", tmp_path / "out") == 1
    assert read_frames(tmp_path / "out")[0].kind == "refined"


def test_numbers_and_shared_names_are_told_apart(tmp_path):
    video = Clip("tour", "train", "g", "prepared/000003.jpg", "prepared/{frame:06d}.jpg", 3, 1, -1, 1)
    near = [city(first=0, last=2), city(21, first=-2, last=0)]
    Made(tmp_path, [video, *near]).export("cityscapes", tmp_path / "out")
    names = {(f.clip, f.offset): f.name for f in read_frames(tmp_path / "out")}
    assert names["tour", -1] == "tour_000002"
    assert names["aachen_000000_000019", 1] == "aachen_000000_000019_aachen_000000_000020"
    assert names["aachen_000000_000021", -1] == "aachen_000000_000021_aachen_000000_000020"
    assert names["aachen_000000_000021", 0] == "aachen_000000_000021"
    assert len(set(names.values())) == 9


def test_coco_segments_are_the_label(made, tmp_path):
    made.export("coco", tmp_path / "out")
    panoptic = json.loads((tmp_path / "out/panoptic.json").read_text())
    categories = {c["id"]: c for c in panoptic["categories"]}
    assert categories[26] == {"id": 26, "name": "car", "supercategory": "vehicle", "isthing": 1, "color": [0, 0, 142]}
    assert categories[7]["isthing"] == 0 and len(categories) == 19
    images = {image["id"]: image for image in panoptic["images"]}
    for frame, annotation in zip(read_frames(tmp_path / "out"), panoptic["annotations"], strict=True):
        assert images[annotation["image_id"]]["file_name"] == frame.image
        rgb = pixels(tmp_path / "out/panoptic" / annotation["file_name"]).astype(int)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        label = made.labels[frame.clip, frame.offset]
        assert ((ids == 0) == (label == 255)).all()
        infos = annotation["segments_info"]
        assert {i["id"] for i in infos} == set(np.unique(ids)) - {0} and len({i["id"] for i in infos}) == len(infos)
        stuff = [i["category_id"] for i in infos if not categories[i["category_id"]]["isthing"]]
        assert len(stuff) == len(set(stuff))
        for info in infos:
            mask = ids == info["id"]
            x, y, width, height = info["bbox"]
            ys, xs = np.nonzero(mask)
            assert (x, y, width, height) == (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
            assert info["area"] == mask.sum() and info["iscrowd"] == 0
            assert (CLASSES.to_native_ids(label)[mask] == info["category_id"]).all()


def test_a_class_of_id_zero_is_no_void(tmp_path):
    made = Made(tmp_path, [city()], load_class_table("camvid"))
    made.export("coco", tmp_path / "out", offsets=[1])
    label = made.labels["aachen_000000_000019", 1]
    assert (label == 0).any()
    drawn = pixels(tmp_path / "out/panoptic/aachen_000000_000020.png").any(axis=2)
    assert (drawn == (label != 255)).all()


def test_touching_and_separate_objects():
    label = np.full((20, 40), ROAD, np.uint8)
    for left in (2, 12, 30):
        label[2 : 4 + left // 10, left : left + 5] = CAR
    segments = find_segments(label, CLASSES)
    assert sorted((s.train_id, s.area) for s in segments)[1:] == [(CAR, 10), (CAR, 15), (CAR, 25)]
    assert len(find_segments(label, CLASSES, most=20)) == 4
    few = find_segments(label, CLASSES, most=3 + 17)
    assert sum(s.area for s in few) == label.size


def test_more_objects_than_colours_join_the_smallest():
    rng = np.random.default_rng(0)
    label = np.where(rng.random((100, 100)) < 0.1, CAR, ROAD).astype(np.uint8)
    label[:10, :10] = CAR
    assert len(find_segments(label, CLASSES)) > 300
    segments = find_segments(label, CLASSES, most=255)
    assert len(segments) <= 255
    cover = np.zeros(label.shape, int)
    for s in segments:
        cover[s.window] += s.mask
        assert (label[s.window][s.mask] == s.train_id).all()
    assert (cover == 1).all()
    assert any(s.train_id == CAR and s.top == s.left == 0 and 100 <= s.area < 150 for s in segments)


def test_a_cvat_task(made, tmp_path):
    made.export("cvat", tmp_path / "out", clips=["aachen_000000_000019"])
    labels = json.loads((tmp_path / "out/labels.json").read_text())
    assert [label["name"] for label in labels] == [IGNORED, *CLASSES.names]
    assert labels[1] == {"name": "road", "color": "#804080", "type": "any", "attributes": []}
    with zipfile.ZipFile(tmp_path / "out/images.zip") as images:
        frame = made.root / "leftImg8bit_sequence/train/aachen/aachen_000000_000020_leftImg8bit.png"
        assert images.read("aachen_000000_000020.png") == frame.read_bytes()
        assert len(images.namelist()) == 4
    with zipfile.ZipFile(tmp_path / "out/annotations.zip") as masks:
        assert masks.read("labelmap.txt").decode().splitlines()[1:4] == [
            "background:0,0,0::",
            "(ignored):64,64,64::",
            "road:128,64,128::",
        ]
        listed = masks.read("ImageSets/Segmentation/default.txt").decode().split()
        assert listed == [f"aachen_000000_{n:06d}" for n in (17, 18, 20, 21)]
        label = made.labels["aachen_000000_000019", 1]
        colours, objects = (
            pixels(io.BytesIO(masks.read(f"Segmentation{kind}/aachen_000000_000020.png")))
            for kind in ("Class", "Object")
        )
        assert (colours == CLASSES.colour(label)).all()
        assert (objects.any(axis=2) == (label != 255)).all()


def test_equal_labels_make_equal_zips(made, tmp_path):
    made.export("cvat", tmp_path / "a")
    made.export("cvat", tmp_path / "b")
    for name in ("images.zip", "annotations.zip"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_labels_that_cvat_cannot_hold_get_other_names_and_colours(tmp_path):
    rows = [("background", [0, 0, 0]), ("way: side", [9, 9, 9]), ("#x", [9, 9, 9]), ("ok", [64, 64, 64])]
    table = {"minutes": {}, "offsets": [0, 0]}
    table["classes"] = [{"name": n, "id": i, "train_id": i, "rgb": rgb} for i, (n, rgb) in enumerate(rows)]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(table))
    labels = task_labels(load_class_table(tmp_path / "own.yaml"))
    assert list(labels) == [IGNORED, "background class", "way_ side", "_x", "ok"]
    assert len({(0, 0, 0), *labels.values()}) == 6
    assert labels["way_ side"] == (9, 9, 9) and labels["ok"] == (64, 64, 64)
    assert sorted([*labels, "background"])[0] == IGNORED  # or unlabelled pixels would come back as a class


def test_strange_names_survive(tmp_path):
    name = 'ä "b"/it\'s\n日 {}.v2, 1'
    clip = Clip("c", "train", "g", f"{name}.png", f"{name.replace('{}', '{{}}')}_{{frame}}.png", 5, 1, -1, 1)
    made = Made(tmp_path, [clip])
    for form, stem in (("cityscapes", "it's\n日 {}.v2, 1_6"), ("cvat", "it's_日 {}_v2, 1_6")):
        made.export(form, tmp_path / form, offsets=[1])
        assert read_frames(tmp_path / form)[0].name == stem
    assert (tmp_path / 'cityscapes/gtFine/train/ä "b"/it\'s\n日 {}.v2, 1_6_gtFine_labelIds.png').is_file()
    with zipfile.ZipFile(tmp_path / "cvat/annotations.zip") as masks:
        assert "SegmentationClass/it's_日 {}_v2, 1_6.png" in masks.namelist()


def test_folders_from_an_index_stay_inside(tmp_path):
    clip = city(split="../up", image="x.png", frames="../data/{frame}.png")
    Made(tmp_path, [clip]).export("cityscapes", tmp_path / "out")
    assert all(file.startswith(("gtFine/unsplit/", "export.csv", "classes.csv")) for file in files(tmp_path / "out"))


def test_an_earlier_export_is_never_replaced(made, tmp_path):
    """Its review may be out: read by another listing, it would be taken for the labels of other frames."""
    out = tmp_path / "out"
    out.mkdir()
    made.export("cityscapes", out)
    before = files(out)
    for form in FORMS:
        with pytest.raises(UserError, match="holds an earlier export, whose review may be out: name another folder"):
            made.export(form, out, splits=["val"], offsets=[1])
    assert files(out) == before and not list(tmp_path.glob(".out*"))


def test_a_folder_of_somebody_else_is_left_alone(made, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="out is not empty: name another folder"):
        made.export("cityscapes", out)
    with pytest.raises(UserError, match="is a file"):
        made.export("coco", out / "thesis.txt")
    assert files(out) == ["thesis.txt"]


def test_a_failed_export_leaves_nothing(made, tmp_path):
    (made.results / "pseudo/flow/labels/aachen_000001_000021.h5").unlink()
    with pytest.raises(UserError, match=r"aachen_000001_000021\.h5 is missing"):
        made.export("cityscapes", tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_what_the_labels_mean_lies_beside_them(made, tmp_path):
    made.export("coco", tmp_path / "out")
    classes = read_classes(tmp_path / "out/classes.csv")
    assert [(c.name, c.id, c.train_id, c.rgb) for c in classes] == [
        (c.name, c.id, c.train_id, c.rgb) for c in CLASSES.classes
    ]
    listing = (tmp_path / "out/classes.csv").read_text()
    for text in (listing.replace("road,7", "road,seven"), listing.replace("road,7", "road,700")):
        (tmp_path / "out/classes.csv").write_text(text)
        with pytest.raises(UserError, match=r"class 'road'.*restore the file"):
            read_classes(tmp_path / "out/classes.csv")
    with pytest.raises(UserError, match="does not exist"):
        read_classes(tmp_path / "classes.csv")


def test_an_image_is_known_by_its_pixels(made, tmp_path):
    """Another OpenCV or zlib writes a video's frames as other bytes of the same picture."""
    path = made.root / city().image_at(1)
    known = []
    for level in (1, 9):
        Image.fromarray(pixels(path)).save(path, compress_level=level)
        made.export("coco", tmp_path / f"{level}", offsets=[1], splits=["train"])
        known.append((content_hash(path), read_frames(tmp_path / f"{level}")[0].image_hash))
    assert known[0][0] != known[1][0] and known[0][1] == known[1][1]
    wide, high = np.zeros((2, 8, 3), np.uint8), np.zeros((8, 2, 3), np.uint8)
    assert len({image_hash(wide), image_hash(high), image_hash(wide + 1)}) == 3


def test_names_that_differ_in_spelling_alone_are_told_apart(tmp_path):
    """Import, as macOS does, takes an accent's two spellings for one name."""
    clips = [
        Clip(name, "train", "g", f"{name}/{unicodedata.normalize(spelling, 'Zürich')}.png", fine="x.png")
        for name, spelling in (("a", "NFC"), ("b", "NFD"))
    ]
    Made(tmp_path, clips, offsets=[0]).export("cityscapes", tmp_path / "out")
    names = {unicodedata.normalize("NFC", frame.name) for frame in read_frames(tmp_path / "out")}
    assert names == {"a_Zürich", "b_Zürich"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"splits": ["vall"]}, "no label of split 'vall'"),
        ({"offsets": [1, 9]}, "no label of offset '9'"),
        ({"clips": ["x"]}, "no label of clip 'x'"),
        ({"splits": ["val"], "clips": ["aachen_000000_000019"]}, "no label to export"),
    ],
)
def test_a_choice_that_names_nothing(made, tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        made.export("cvat", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_labels_that_do_not_fit_the_index(made, tmp_path):
    image = made.root / city().image_at(1)
    Image.new("RGB", (8, 8)).save(image)
    with pytest.raises(UserError, match=r"000020_leftImg8bit\.png is not of its label's size, 40x24"):
        made.export("coco", tmp_path / "out")
    write_csv(made.csv, LABEL_COLUMNS, [["gone", 1, "pseudo/flow/labels/x.h5", "f", "c"]])
    with pytest.raises(UserError, match="gone at offset 1, which the index lacks"):
        made.export("coco", tmp_path / "out")
    file = "pseudo/flow/labels/aachen_000000_000019.h5"
    write_csv(made.csv, LABEL_COLUMNS, [["aachen_000000_000019", -1, file, "other", "c"]])
    with pytest.raises(UserError, match="holds another label at offset -1"):
        made.export("coco", tmp_path / "out")


def test_unknown_form():
    with pytest.raises(UserError, match="'yolo' is unknown: choose one of cityscapes, coco, cvat"):
        form_module("yolo")


def test_labels_that_mean_nothing_are_not_taken_out(made, tmp_path):
    made.csv.write_text(made.csv.read_text().replace("/labels/", "/labels/random-weights/"))
    with pytest.raises(UserError, match="was made with random weights and means nothing"):
        made.export("cityscapes", tmp_path / "out")
    assert not (tmp_path / "out").exists()
