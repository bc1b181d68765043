from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from fewframes.core.clips import LABEL_COLUMNS, Clip
from fewframes.core.errors import UserError
from fewframes.core.files import write_csv
from fewframes.core.labelfile import Layer, write_label_file
from fewframes.core.labels import load_class_table
from fewframes.labelling.methods import RANDOM_WEIGHTS
from fewframes.reporting.figures.sheets import CONFIDENCE_COLOURS
from fewframes.reporting.pictures import write_annotation_sheet, write_propagation_sheet, write_refinement_sheet

CITYSCAPES = load_class_table("cityscapes")
SIZE = 16, 32


def make(folder, clips, offsets=(-2, -1, 1, 2), confidence=True, below=""):
    """Clips of grey frames, grey 100, with labels of a road; confidence is 200."""
    made, rows = [], []
    for name in clips:
        made.append(Clip(name, "train", name, f"{name}_10.png", name + "_{frame}.png", 10, 1, -5, 5))
        layers = {}
        for offset in (0, *offsets):
            (folder / "data").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*SIZE, 3), 100, np.uint8)).save(folder / "data" / f"{name}_{10 + offset}.png")
            maps = {"confidence": np.full(SIZE, 200, np.uint8)} if offset and confidence else {}
            layers[offset] = Layer(np.zeros(SIZE, np.uint8), "f", maps)
        file = f"pseudo/m/labels/{below}{name}.h5"
        write_label_file(folder / "results" / file, layers, {"method": "m"})
        rows += [(name, offset, file, "f", layer.checksum) for offset, layer in layers.items()]
    write_csv(folder / "results" / "labels.csv", LABEL_COLUMNS, rows)
    return made


def sheet(folder, clips, note="", **options):
    results = folder / "results"
    labels, data, out = results / "labels.csv", folder / "data", folder / "sheet"
    write_propagation_sheet(clips, labels, data, results, CITYSCAPES, out, note, **options)


def texts(figure):
    return [text.get_text() for text in figure.texts]


def shown(figure):
    """The middle pixel of each picture, in the order they were drawn."""
    images = [axes.images[0].get_array() for axes in figure.axes]
    return [image[image.shape[0] // 2, image.shape[1] // 2].tolist() for image in images]


def test_confidence_stands_below_the_labels_and_the_image_below_the_key_frame(tmp_path, drawn):
    sheet(tmp_path, make(tmp_path, ["a"]))
    (figure,) = drawn
    label = ((0.35 * 100 + 0.65 * CITYSCAPES.palette[0]).round()).tolist()
    confidence = ((0.2 * 100 + 0.8 * CONFIDENCE_COLOURS[200]).round()).tolist()
    pairs = list(zip(*[iter(shown(figure)[:10])] * 2, strict=True))
    assert pairs == [(label, confidence)] * 2 + [(label, [100, 100, 100])] + [(label, confidence)] * 2
    for upper, lower in zip(figure.axes[:10:2], figure.axes[1:10:2], strict=True):
        assert lower.get_position().x0 == upper.get_position().x0
        assert lower.get_position().y1 < upper.get_position().y0
    assert texts(figure) == ["a", "-2", "-1", "annotated", "+1", "+2", "confidence 0", "1"]
    assert np.array_equal(figure.axes[10].images[0].get_array()[0], CONFIDENCE_COLOURS)  # the bar


def test_without_confidence_there_is_one_row_and_no_bar(tmp_path, drawn):
    sheet(tmp_path, make(tmp_path, ["a"], confidence=False))
    assert len(drawn[0].axes) == 5
    assert texts(drawn[0]) == ["a", "-2", "-1", "annotated", "+1", "+2"]


def test_the_foot_of_a_sheet_does_not_overlap(tmp_path, drawn):
    sheet(tmp_path, make(tmp_path, ["a"], offsets=(-1,)), note="A note that is too long for two pictures. " * 4)
    figure = drawn[0]
    *_, confidence, _one, first, second = sorted(figure.texts, key=lambda t: -t.get_window_extent().y0)
    assert confidence.get_text() == "confidence 0" and first.get_text().startswith("A note")
    boxes = [figure.legends[0].get_window_extent(), *(t.get_window_extent() for t in (confidence, first, second))]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))
    assert boxes[-1].y0 >= 0 and max(box.x1 for box in boxes) <= figure.bbox.x1


def test_named_clips_are_shown_in_their_order_instead_of_the_spread(tmp_path, drawn):
    clips = make(tmp_path, [f"c{i}" for i in range(7)], confidence=False)
    sheet(tmp_path, clips)
    assert [text for text in texts(drawn[0]) if text.startswith("c")] == ["c0", "c2", "c4", "c6"]
    sheet(tmp_path, clips, only=("c5", "c1"))
    assert [text for text in texts(drawn[1]) if text.startswith("c")] == ["c5", "c1"]


def test_a_clip_that_reaches_less_far_is_shown_as_far_as_it_goes(tmp_path, drawn):
    (near,) = make(tmp_path, ["near"], offsets=(-2, -1, 1, 2), confidence=False)
    near_labels = (tmp_path / "results" / "labels.csv").read_text()
    (far,) = make(tmp_path, ["far"], offsets=(-4, -2, 2, 4), confidence=False)
    with (tmp_path / "results" / "labels.csv").open("a") as file:
        file.write(near_labels.partition("\n")[2])
    sheet(tmp_path, [near, far])
    assert texts(drawn[0]) == ["far", "-4", "-2", "annotated", "+2", "+4"]
    sheet(tmp_path, [near, far], only=["near"])
    assert texts(drawn[1]) == ["near", "-2", "-1", "annotated", "+1", "+2"]


def test_a_clip_without_labels_is_named(tmp_path):
    clips = make(tmp_path, ["a", "b"])
    with pytest.raises(UserError, match=r"Clip 'z' has no propagated labels: name a clip of .*labels\.csv"):
        sheet(tmp_path, clips, only=("a", "z", "y"))
    with pytest.raises(UserError, match="Clip 'b' has no propagated labels"):
        sheet(tmp_path, clips[:1], only=("b",))  # the index does not have it
    with pytest.raises(UserError, match="No clip has propagated labels"):
        sheet(tmp_path, make(tmp_path, ["a"], offsets=()))


def test_a_frame_of_another_size_is_named(tmp_path):
    clips = make(tmp_path, ["a"])
    Image.fromarray(np.zeros((16, 33, 3), np.uint8)).save(tmp_path / "data" / "a_12.png")
    with pytest.raises(UserError, match=r"a_12\.png is 33x16 but .* 32x16"):
        sheet(tmp_path, clips)


def test_labels_of_random_weights_are_marked(tmp_path, drawn):
    sheet(tmp_path, make(tmp_path, ["a"], below=f"{RANDOM_WEIGHTS}/"), note="Toy.")
    assert " ".join(texts(drawn[0])[8:]).startswith("Random weights: ")
    assert " ".join(texts(drawn[0])[8:]).endswith("mean nothing. Toy.")


def refined(folder, names, fine=(), below=""):
    """Clips whose coarse label is ignore and whose refined one is road; sidewalk is the fine one of those in `fine`."""
    made, rows = [], []
    (folder / "data").mkdir(exist_ok=True)
    for name in names:
        paths = {"coarse": f"{name}_coarse.png", **({"fine": f"{name}_fine.png"} if name in fine else {})}
        for file, id_ in zip(paths.values(), (0, 8), strict=False):
            Image.fromarray(np.full(SIZE, id_, np.uint8)).save(folder / "data" / file)
        Image.fromarray(np.full((*SIZE, 3), 100, np.uint8)).save(folder / "data" / f"{name}.png")
        made.append(Clip(name, "train", name, f"{name}.png", **paths))
        label = f"refined/m/labels/{below}{name}.h5"
        write_label_file(folder / "results" / label, {0: (layer := Layer(np.zeros(SIZE, np.uint8), "f"))}, {})
        rows.append((name, 0, label, "f", layer.checksum))
    write_csv(folder / "results" / "labels.csv", LABEL_COLUMNS, rows)
    return made


def refinement_sheet(folder, clips, note="", **options):
    labels, out = folder / "results" / "labels.csv", folder / "sheet"
    write_refinement_sheet(clips, labels, folder / "data", folder / "results", CITYSCAPES, out, note, **options)


def test_an_image_stands_beside_its_coarse_refined_and_fine_label(tmp_path, drawn):
    refinement_sheet(tmp_path, refined(tmp_path, ["a"], fine=["a"]), note="Toy.")
    assert texts(drawn[0]) == ["a", "image", "coarse", "refined", "fine", "Toy."]
    tints = [(0.35 * 100 + 0.65 * CITYSCAPES.palette[i]).round().tolist() for i in (0, 1)]
    image, coarse, *labelled = shown(drawn[0])
    assert image == [100] * 3 and labelled == tints
    assert coarse in ([0.35 * 100 + 0.65 * 20] * 3, [round(0.35 * 100 + 0.65 * 190)] * 3)  # striped
    assert (tmp_path / "sheet.png").is_file() and (tmp_path / "sheet.pdf").is_file()


def test_images_with_a_fine_label_are_preferred_and_named_ones_shown(tmp_path, drawn):
    clips = refined(tmp_path, [f"c{i}" for i in range(9)], fine=["c2", "c3", "c7"])
    for options in ({}, {"only": ("c8", "c2")}):
        refinement_sheet(tmp_path, clips, **options)
    rows = [[text for text in texts(figure) if text.startswith("c") and text != "coarse"] for figure in drawn]
    assert rows == [["c2", "c3", "c7"], ["c8", "c2"]]
    assert texts(drawn[1]).count("fine") == 1
    refinement_sheet(tmp_path, refined(tmp_path, ["d"]))
    assert texts(drawn[2]) == ["d", "image", "coarse", "refined"]


def test_refined_labels_of_random_weights_are_marked(tmp_path, drawn):
    refinement_sheet(tmp_path, refined(tmp_path, ["a"], below=f"{RANDOM_WEIGHTS}/"), note="Toy.")
    marked = " ".join(texts(drawn[0])[4:])
    assert marked.startswith("Random weights: ") and marked.endswith("mean nothing. Toy.")


def test_what_a_refinement_sheet_cannot_show_is_named(tmp_path):
    clips = refined(tmp_path, ["a", "b"])
    with pytest.raises(UserError, match=r"Clip 'z' has no refined label: name a clip of .*labels\.csv"):
        refinement_sheet(tmp_path, clips, only=("a", "z"))
    with pytest.raises(UserError, match="No refined label is there to show"):
        refinement_sheet(tmp_path, [])
    Image.fromarray(np.zeros((16, 33, 3), np.uint8)).save(tmp_path / "data" / "a.png")
    with pytest.raises(UserError, match=r"a\.png is 33x16 but its coarse label is 32x16"):
        refinement_sheet(tmp_path, clips, only=("a",))


def annotation_sheet(folder, clips, note="", **options):
    write_annotation_sheet(clips, folder / "data", CITYSCAPES, folder / "sheet", note, **options)


def test_an_image_stands_beside_its_fine_and_coarse_annotation(tmp_path, drawn):
    clips = refined(tmp_path, ["a", "b", "c"], fine=["b"])
    annotation_sheet(tmp_path, clips, note="Toy.")
    captions = ["image", "fine annotation (90 minutes)", "coarse annotation (7 minutes)"]
    assert texts(drawn[0]) == ["b", *captions, "Toy."]  # the one that has both
    image, fine, _ = shown(drawn[0])
    assert image == [100] * 3
    assert fine == (0.35 * 100 + 0.65 * CITYSCAPES.palette[1]).round().tolist()
    annotation_sheet(tmp_path, clips, only=("c", "b"))
    assert texts(drawn[1]) == ["c", "image", captions[2], "b", *captions]


def test_what_is_not_annotated_is_not_shown(tmp_path, drawn):
    clips = refined(tmp_path, ["a", "b"])
    bare, scored = Clip("bare", "train", "bare", "a.png"), replace(clips[1], split="val")
    annotation_sheet(tmp_path, [bare, clips[0], scored])
    assert texts(drawn[0])[0] == "a" and "b" not in texts(drawn[0])
    annotation_sheet(tmp_path, [bare, scored])  # for want of training clips
    assert texts(drawn[1])[0] == "b"
    with pytest.raises(UserError, match="Clip 'bare' has no annotation"):
        annotation_sheet(tmp_path, [bare, *clips], only=("bare",))
    with pytest.raises(UserError, match="No clip is annotated"):
        annotation_sheet(tmp_path, [bare])
    Image.fromarray(np.zeros((16, 33), np.uint8)).save(tmp_path / "data" / "a_coarse.png")
    with pytest.raises(UserError, match=r"a\.png is 32x16 but its clip's annotation is 33x16"):
        annotation_sheet(tmp_path, clips)
