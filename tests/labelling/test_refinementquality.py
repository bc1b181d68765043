"""Refined against coarse against fine: what the table says, and what it leaves out."""

import numpy as np
import pytest
from PIL import Image

from fewframes.core.clips import LABEL_COLUMNS, PREPARED, Clip, Root
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv, write_csv
from fewframes.core.labelfile import Layer, write_label_file
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.core.metrics import boundary_counts, boundary_iou
from fewframes.labelling.refinementquality import COLUMNS, REFINED, labels_of, write_refinement_quality

CLASSES = load_class_table("cityscapes")
ROAD, SKY, CAR = (CLASSES.names.index(name) for name in ("road", "sky", "car"))
SIZE = 40, 100


def street(margin, left=20, ignored=0):
    """A car on a road, each labelled `margin` pixels inside its boundary; a train id `uint8 [H, W]`."""
    label = np.full(SIZE, IGNORE if margin else ROAD, np.uint8)
    label[28 + margin :] = ROAD
    label[10:28, left : left + 40] = IGNORE if margin else CAR
    label[10 + margin : 28 - margin, left + margin : left + 40 - margin] = CAR
    label[: 10 - margin] = ROAD
    label[:ignored] = IGNORE
    return label


def keep(folder, made):
    """Images of `made`, {clip: (coarse, refined, fine or None)}, as clips and their collected CSV."""
    clips, rows = [], []
    for name, (coarse, refined, fine) in made.items():
        paths = {}
        for kind, label in (("coarse", coarse), ("fine", fine)):
            if label is not None:
                paths[kind] = f"{kind}/{name}.png"
                (folder / "data" / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(CLASSES.to_native_ids(label)).save(folder / "data" / paths[kind])
        clips.append(Clip(name, "train", "g", f"{name}.png", **paths))
        file = f"refined/m/labels/{name}.h5"
        write_label_file(folder / "results" / file, {0: (layer := Layer(refined, "f"))}, {})
        rows.append((name, 0, file, "f", layer.checksum))
    write_csv(folder / "results" / "labels.csv", LABEL_COLUMNS, rows)
    return clips


def table(folder, clips, root=None):
    results, out = folder / "results", folder / "quality.csv"
    write_refinement_quality("m", results / "labels.csv", clips, root or folder / "data", results, CLASSES, out)
    return {row["class"]: row for row in read_csv(out, COLUMNS)}


def test_both_labels_are_scored_by_class(tmp_path):
    made = {name: (street(4), street(1), street(0)) for name in ("a", "b")}
    rows = table(tmp_path, keep(tmp_path, made))
    assert list(rows) == [*CLASSES.names, REFINED, "mean"]
    car = rows["car"]
    assert (car["method"], car["frames"], car["pixels"]) == ("m", "2", str(2 * 18 * 40))
    coarse, refined = 10 * 32 / (18 * 40), 16 * 38 / (18 * 40)
    for score in ("coverage", "iou_all"):  # all that is claimed is right
        assert float(car[f"{score}_coarse"]) == pytest.approx(100 * coarse, abs=0.005)
        assert float(car[f"{score}_refined"]) == pytest.approx(100 * refined, abs=0.005)
        assert float(car[f"{score}_gain"]) == pytest.approx(100 * (refined - coarse), abs=0.005)
    assert (car["iou_claimed_coarse"], car["iou_claimed_refined"], car["iou_claimed_gain"]) == (
        "100.00",
        "100.00",
        "0.00",
    )
    for kind, margin in (("coarse", 4), ("refined", 1)):
        outline = boundary_iou(boundary_counts(street(0), street(margin), len(CLASSES.names)))[CAR]
        assert float(car[f"boundary_iou_{kind}"]) == pytest.approx(100 * outline, abs=0.005)
    assert set(list(rows["sky"].values())[4:]) == {""} and rows["sky"]["pixels"] == "0"


def test_what_refinement_spoils_is_a_loss(tmp_path):
    spoilt = street(0)
    spoilt[:, 80:] = CAR
    rows = table(tmp_path, keep(tmp_path, {"a": (street(0), spoilt, street(0))}))
    assert float(rows["car"]["iou_claimed_gain"]) == pytest.approx(100 * (18 / 38 - 1), abs=0.005)
    assert rows["car"]["coverage_gain"] == "0.00" and float(rows["road"]["boundary_iou_gain"]) < 0


def test_the_means_are_of_the_refined_classes_and_of_all_that_occur(tmp_path):
    rows = table(tmp_path, keep(tmp_path, {"a": (street(4), street(1), street(0))}))
    assert "car" in CLASSES.refined and "road" not in CLASSES.refined
    scores = [column for column in COLUMNS[4:] if not column.startswith("coverage")]
    assert [rows[REFINED][c] for c in COLUMNS[3:]] == [rows["car"][c] for c in COLUMNS[3:]]
    for column in scores:
        two = [float(rows[name][column]) for name in ("car", "road")]
        assert float(rows["mean"][column]) == pytest.approx(np.mean(two), abs=0.011)
    # Coverage is of the pixels, not a mean over classes.
    assert rows["mean"]["pixels"] == "4000"
    covered = (street(4) != IGNORE).mean()
    assert float(rows["mean"]["coverage_coarse"]) == pytest.approx(100 * covered, abs=0.005)


def test_pixels_without_truth_count_nowhere(tmp_path):
    fine = street(0, ignored=10)
    claimed, not_claimed = street(0), fine
    rows = table(tmp_path, keep(tmp_path, {"a": (claimed, not_claimed, fine)}))
    for column in COLUMNS[4:]:
        assert rows["mean"][column] == ("0.00" if column.endswith("gain") else "100.00")


def test_images_without_a_fine_or_a_refined_label_are_left_out(tmp_path):
    made = {"a": (street(4), street(1), street(0)), "b": (street(4), street(0), None), "c": (street(4),) * 3}
    clips = keep(tmp_path, made)
    labels = tmp_path / "results" / "labels.csv"
    labels.write_text("\n".join(line for line in labels.read_text().splitlines() if not line.startswith("c,")) + "\n")
    assert table(tmp_path, clips) == table(tmp_path, clips[:1])
    assert table(tmp_path, clips)["car"]["frames"] == "1"


def test_where_no_image_has_both_the_table_is_empty_and_says_so(tmp_path, capsys):
    assert table(tmp_path, keep(tmp_path, {"b": (street(4), street(0), None)})) == {}
    assert (tmp_path / "quality.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert "refinement m: no image has a coarse and a fine label" in capsys.readouterr().err


def test_prepared_labels_are_found(tmp_path):
    clips = keep(tmp_path, {"a": (street(4), street(1), street(0))})
    rows = table(tmp_path, clips)
    (tmp_path / "data" / "coarse").rename(tmp_path / "prepared")
    moved = Clip("a", "train", "g", "a.png", fine="fine/a.png", coarse=f"{PREPARED}a.png")
    assert table(tmp_path, [moved], Root(tmp_path / "data", tmp_path / "prepared")) == rows


@pytest.mark.parametrize("wrong", ["refined", "fine"])
def test_labels_of_another_size_are_named(tmp_path, wrong):
    made = {kind: street(0) for kind in ("coarse", "refined", "fine")}
    made[wrong] = made[wrong][:, :60]
    clips = keep(tmp_path, {"a": tuple(made.values())})
    with pytest.raises(UserError, match=r"a\.(h5|png) is 60x40 but the coarse label .*a\.png is 100x40: bring"):
        table(tmp_path, clips)


def test_an_absent_or_damaged_label_is_named(tmp_path):
    clips = keep(tmp_path, {"a": (street(4), street(1), street(0))})
    file = tmp_path / "results" / "refined/m/labels/a.h5"
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(UserError, match=r"a\.h5 is missing or damaged"):
        table(tmp_path, clips)
    (tmp_path / "data" / "coarse" / "a.png").unlink()
    with pytest.raises(UserError, match=r"coarse/a\.png does not exist"):
        table(tmp_path, clips)


def test_an_images_labels_come_by_kind(tmp_path):
    (clip,) = keep(tmp_path, {"a": (street(4), street(1), None)})
    found = labels_of(clip, tmp_path / "results/refined/m/labels/a.h5", tmp_path / "data", CLASSES)
    assert list(found) == ["coarse", "refined"]
    assert np.array_equal(found["coarse"], street(4)) and np.array_equal(found["refined"], street(1))
