import numpy as np
import pytest
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.reporting.figures.sheets import (
    CONFIDENCE_COLOURS,
    Picture,
    confidence_overlay,
    overlay,
    write_contact_sheet,
)

CITYSCAPES = load_class_table("cityscapes")


def test_an_overlay_tints_classes_and_stripes_what_is_ignored():
    image = np.full((8, 30, 3), 100, np.uint8)
    label = np.zeros((8, 30), np.uint8)
    label[:, 10:20] = 13
    label[:, 20:] = IGNORE
    shown = overlay(image, label, CITYSCAPES)
    road, car = CITYSCAPES.palette[[0, 13]].astype(float)
    assert shown[4, 5] == pytest.approx(0.35 * 100 + 0.65 * road, abs=1)
    assert shown[4, 15] == pytest.approx(0.35 * 100 + 0.65 * car, abs=1)
    ignored = shown[:, 22:]
    assert set(ignored.ravel()) == {0.35 * 100 + 0.65 * 20, round(0.35 * 100 + 0.65 * 190)}  # dark, with stripes
    assert (ignored == ignored[..., :1]).all()
    assert (shown[:, [10, 20]] == 255).all()


def test_an_overlay_of_two_sizes_is_refused():
    with pytest.raises(ValueError, match="of one size"):
        overlay(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 5), np.uint8), CITYSCAPES)


def test_a_contact_sheet_holds_its_pictures_captions_and_classes(tmp_path, drawn):
    image = np.zeros((20, 40, 3), np.uint8)
    label = np.full((20, 40), 13, np.uint8)
    label[:5] = IGNORE
    rows = [
        ("Propagation", [Picture("image", image), Picture("key frame", image, label)]),
        ("Network", [Picture("P2_$x$", image, np.full_like(label, 10))]),
    ]
    write_contact_sheet(rows, CITYSCAPES, tmp_path / "sheet", note="Toy pictures.")
    (figure,) = drawn
    assert len(figure.axes) == 3
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["Propagation", "image", "key frame", "Network", "P2_$x$", "Toy pictures."]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sky", "car", "unlabelled"]
    edges = [text.get_window_extent().y0 for text in figure.legends[0].get_texts()]
    assert min(edges) > figure.texts[-1].get_window_extent().y1  # the note stands clear below the legend
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width == pytest.approx((2 * 2.4 + 3 * 0.06) * 200, abs=2)
    assert (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF")


def test_confidence_is_coloured_and_what_is_unclaimed_striped():
    image = np.full((8, 24, 3), 100, np.uint8)
    label = np.zeros((8, 24), np.uint8)
    label[:, 12:] = IGNORE
    confidence = np.full((8, 24), 255, np.uint8)
    confidence[:, :6] = 0
    shown = confidence_overlay(image, label, confidence)
    assert shown[4, 3] == pytest.approx(20 + 0.8 * CONFIDENCE_COLOURS[0], abs=1)
    assert shown[4, 9] == pytest.approx(20 + 0.8 * CONFIDENCE_COLOURS[255], abs=1)
    assert set(shown[:, 12:].ravel()) == {20 + 0.8 * 20, 20 + 0.8 * 190}


def test_the_colours_of_confidence_grow_lighter_evenly():
    luma = CONFIDENCE_COLOURS @ np.array([0.299, 0.587, 0.114])
    assert CONFIDENCE_COLOURS.shape == (256, 3) and CONFIDENCE_COLOURS.dtype == np.uint8
    assert luma[-1] - luma[0] > 150 and (np.diff(luma[::8]) > 0).all()


def test_a_train_id_that_the_class_table_lacks_is_named(tmp_path):
    picture = Picture("a", np.zeros((4, 8, 3), np.uint8), np.full((4, 8), 19, np.uint8))
    with pytest.raises(UserError, match="train id 19, but the class table 'cityscapes' has 19 classes"):
        write_contact_sheet([("row", [picture])], CITYSCAPES, tmp_path / "sheet")
