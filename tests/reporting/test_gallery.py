import base64
import io
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fewframes.core.clips import LABEL_COLUMNS, Clip
from fewframes.core.errors import UserError
from fewframes.core.files import write_csv
from fewframes.core.labelfile import Layer, write_label_file
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.labelling.methods import RANDOM_WEIGHTS
from fewframes.reporting.gallery import write_gallery

CITYSCAPES = load_class_table("cityscapes")
ROAD, CAR = 0, 13
ROAD_ID, CAR_ID = 7, 26  # Cityscapes' own ids
VOID_TAGS = {"meta", "img"}


class Page(HTMLParser):
    """A page's cards in order, each with its heading, captions and pictures; text and tags of the whole."""

    def __init__(self, text):
        super().__init__()
        self.cards, self.tags, self.text, self.banner, self.legend = [], [], [], "", []
        self._open = []
        self.feed(text)
        assert not self._open, "every element is closed"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag not in VOID_TAGS:
            self._open.append((tag, attributes.get("class")))
        if tag == "article":
            self.cards.append({"id": attributes["id"], "title": "", "captions": [], "pictures": [], "alts": []})
        if tag == "img":
            kind, _, data = attributes["src"].partition(",")
            assert kind == "data:image/jpeg;base64"
            picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            assert picture.format == "JPEG"
            assert (int(attributes["width"]), int(attributes["height"])) == picture.size
            self.cards[-1]["pictures"].append(np.asarray(picture))
            self.cards[-1]["alts"].append(attributes["alt"])

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        tag, kind = self._open[-1] if self._open else ("", None)
        self.text.append(data)
        if kind == "banner":
            self.banner += data
        if tag == "li":
            self.legend.append(data)
        if tag == "figcaption":
            self.cards[-1]["captions"].append(data)
        if any(name == "h2" for name, _ in self._open):
            self.cards[-1]["title"] += data

    @property
    def ids(self):
        return [card["id"] for card in self.cards]


class City:
    """A made dataset: clips of grey frames whose labels are a road, with a share of it unclaimed on the left."""

    def __init__(self, folder, size=(20, 40), random_weights=False):
        self.folder, self.size = folder, size
        self.labels = "pseudo/m/labels" + (f"/{RANDOM_WEIGHTS}" if random_weights else "")
        self.clips, self.rows = [], []

    def add(self, name, unclaimed=0.0, confidence=None, offsets=(-2, -1, 1, 2), train_id=ROAD):
        """One clip; `confidence` is that of every pixel, the unclaimed too, and None for a method without."""
        clip = Clip(name, "train", name, f"{name}_010.png", name + "_{frame:03d}.png", 10, 1, -5, 5)
        truth = f"{name}_{{frame:03d}}.png"
        self.clips.append(Clip(**{**vars(clip), "truth": truth}))
        layers = {}
        for offset in (0, *offsets):
            path = self.folder / "data" / f"{name}_{10 + offset:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*self.size, 3), 100, np.uint8)).save(path)
            label = np.full(self.size, train_id, np.uint8)
            if offset:
                label[:, : round(unclaimed * self.size[1])] = IGNORE
            graded = offset and confidence is not None
            maps = {"confidence": np.full(self.size, confidence, np.uint8)} if graded else {}
            layers[offset] = Layer(label, "f", maps)
        file = f"{self.labels}/{name}.h5"
        write_label_file(self.folder / "results" / file, layers, {"method": "m", "clip": name})
        self.rows += [(name, offset, file, "f", layer.checksum) for offset, layer in layers.items()]
        return self

    def truth(self, name, offset, label):
        path = self.folder / "truth" / f"{name}_{10 + offset:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(label).save(path)

    def write(self, truth=False, classes=CITYSCAPES, **options):
        results, out = self.folder / "results", self.folder / "labels.html"
        write_csv(results / "labels.csv", LABEL_COLUMNS, self.rows)
        truth_root = self.folder / "truth" if truth else None
        data = self.folder / "data"
        write_gallery(self.clips, results / "labels.csv", data, truth_root, results, classes, out, **options)
        return Page(out.read_text(encoding="utf-8"))


@pytest.fixture
def city(tmp_path):
    return City(tmp_path)


def test_the_worst_clip_comes_first_and_the_unclaimed_count_as_nothing(city):
    city.add("fine", 0.0, 255).add("unsure", 0.0, 153).add("bare", 0.5, 255)
    page = city.write()
    assert page.ids == ["bare", "unsure", "fine"]
    assert [card["title"] for card in page.cards] == [
        "1. bare coverage 50.0 %, mean confidence 0.50",
        "2. unsure coverage 100.0 %, mean confidence 0.60",
        "3. fine coverage 100.0 %, mean confidence 1.00",
    ]
    assert page.cards[0]["captions"] == [
        "-2 frames: coverage 50.0 %, mean confidence 0.50",
        "annotated frame",
        "+2 frames: coverage 50.0 %, mean confidence 0.50",
    ]
    text = "".join(page.text)
    assert "Labels by m, worst first" in text and "3 of 3 clips" in text and "mean confidence first" in text


def test_only_the_worst_are_drawn_and_the_others_images_are_not_read(city):
    city.add("good", 0.0, 255).add("bad", 0.0, 10).add("middling", 0.0, 90)
    for image in (city.folder / "data").glob("good*"):
        image.unlink()
    page = city.write(most=2)
    assert page.ids == ["bad", "middling"]
    assert "2 of 3 clips" in "".join(page.text)


def test_pictures_are_embedded_small_and_described(tmp_path):
    page = City(tmp_path, size=(320, 640)).add("a", 0.5, 255).write()
    (card,) = page.cards
    assert {picture.shape for picture in card["pictures"]} == {(160, 320, 3)}
    assert card["alts"] == [
        "a, -2 frames: labels over the image",
        "a, -2 frames: confidence of the labels",
        "a, annotated frame: labels over the image",
        "a, +2 frames: labels over the image",
        "a, +2 frames: confidence of the labels",
    ]
    label, confidence = card["pictures"][:2]
    grey = np.full(3, 100.0)
    assert label[80, 240] == pytest.approx(0.35 * grey + 0.65 * CITYSCAPES.palette[ROAD], abs=4)
    assert confidence[80, 240] == pytest.approx(0.2 * grey + 0.8 * np.array([253, 231, 37]), abs=4)  # viridis' end
    for picture in (label, confidence):
        unclaimed = picture[40:120, 20:120].astype(int)
        assert np.ptp(unclaimed, axis=2).max() < 12 and np.ptp(unclaimed) > 60  # grey, with stripes
    # Nothing is fetched, and nothing runs.
    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "header", "main", "h1", "h2", "p", "ul", "li", "span"),
        *("article", "div", "figure", "figcaption", "img"),
    }
    assert not any("url(" in str(a) or "http" in str(a) for tag, a in page.tags if tag != "img")


def test_frames_narrower_than_a_thumbnail_stay_as_they_are(city):
    (card,) = city.add("a", 0.0, 255).write().cards
    assert {picture.shape for picture in card["pictures"]} == {(20, 40, 3)}


def test_the_legend_has_what_occurs(city):
    page = city.add("a", 0.25, 255).add("b", 0.0, 255, train_id=CAR).write()
    assert page.legend == ["road", "car", "unlabelled", "confidence 0", "1"]


def test_labels_without_confidence_are_ordered_by_coverage(city):
    page = city.add("whole", 0.0).add("half", 0.5).add("most", 0.25).write()
    assert page.ids == ["half", "most", "whole"]
    assert all(len(card["pictures"]) == 3 for card in page.cards)
    text = "".join(page.text)
    assert "coverage first" in text and "mean confidence" not in text and "confidence 0" not in page.legend


def test_one_clip_without_confidence_takes_it_out_of_the_order_of_all(city):
    page = city.add("sure", 0.5, 255).add("plain", 0.25).add("unsure", 0.0, 10).write()
    assert page.ids == ["sure", "plain", "unsure"]
    assert [len(card["pictures"]) for card in page.cards] == [5, 3, 5]


def test_a_clip_labelled_in_one_direction_shows_that(city):
    (card,) = city.add("a", 0.0, 255, offsets=(-3, -1)).write().cards
    assert [caption.partition(":")[0] for caption in card["captions"]] == ["-3 frames", "annotated frame"]


def test_truth_is_told_where_it_is_and_has_no_part_in_the_order(city):
    city.add("right", 0.5, 100).add("wrong", 0.5, 200)
    half = np.full((20, 40), ROAD_ID, np.uint8)
    half[:, :20] = CAR_ID  # where nothing is claimed
    city.truth("right", -2, half)
    half[:10] = CAR_ID
    city.truth("wrong", 2, half)
    page = city.write(truth=True)
    assert page.ids == ["right", "wrong"]
    past, _, future = page.cards[0]["captions"]
    assert past.endswith(", true mIoU (claimed) 100.0 %") and "true" not in future
    # Road: 200 of 400 claimed pixels are hits; car: none of 200.
    past, _, future = page.cards[1]["captions"]
    assert future.endswith(", true mIoU (claimed) 25.0 %") and "true" not in past
    assert "true" not in "".join(caption for card in city.write().cards for caption in card["captions"])


def test_names_and_notes_are_text_whatever_they_hold(city):
    table = city.folder / "table.yaml"
    table.write_text(
        "classes:\n- {name: '<b>&\"road', id: 0, train_id: 0, rgb: [1, 2, 3]}\nminutes: {fine: 90}\noffsets: [-5, 5]\n"
    )
    city.add("a", 0.0, 255)
    page = city.write(classes=load_class_table(table), note="<script>alert('x')</script> {braces} & more")
    assert '<b>&"road' in page.legend
    assert "<script>alert('x')</script> {braces} & more" in "".join(page.text)
    assert not {"script", "b"} & {tag for tag, _ in page.tags}


def test_labels_of_random_weights_are_marked(tmp_path):
    assert City(tmp_path / "trained").add("a", 0.0, 255).write().banner == ""
    banner = City(tmp_path / "random", random_weights=True).add("a", 0.0, 255).write().banner
    assert "Random weights" in banner and "mean nothing" in banner


def test_equal_galleries_are_equal_files(city):
    city.add("a", 0.0, 255).add("b", 0.0, 255)
    city.write()
    first = (city.folder / "labels.html").read_bytes()
    city.clips.reverse()
    assert city.write().ids == ["a", "b"]
    assert (city.folder / "labels.html").read_bytes() == first


def test_what_cannot_be_shown_is_named(city):
    with pytest.raises(UserError, match="No clip has propagated labels"):
        city.add("a", offsets=()).write()
    city.add("b", 0.0, 255)
    city.truth("b", -2, np.full((20, 41), ROAD_ID, np.uint8))
    with pytest.raises(UserError, match=r"truth/b_008\.png is not of its frame's size"):
        city.write(truth=True)
    Image.fromarray(np.zeros((20, 41, 3), np.uint8)).save(city.folder / "data" / "b_010.png")
    with pytest.raises(UserError, match=r"b_010\.png is 41x20 but .* 40x20"):
        city.write()
    (city.folder / "results" / city.labels / "b.h5").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"b\.h5 is missing or damaged"):
        city.write()


def test_another_class_table_is_named(city):
    with pytest.raises(UserError, match="train id 200, but the class table 'cityscapes' has 19 classes"):
        city.add("a", 0.0, 255, train_id=200).write()


def test_the_gallery_does_without_torch():
    code = "import sys, fewframes.reporting.gallery; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
