import cv2
import numpy as np
import pytest

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.labelling.refinement import build_refiner

CLASSES = load_class_table("cityscapes")
ROAD, POLE, CAR, BUS = (CLASSES.names.index(name) for name in ("road", "pole", "car", "bus"))
HEIGHT, WIDTH = 100, 160


def drawn(*objects: tuple[int, int, int, int, int, tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """A noisy grey street with boxes (class, top, left, height, width, colour), and its true label."""
    image = np.full((HEIGHT, WIDTH, 3), 110, np.float32)
    label = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
    for train_id, top, left, height, width, colour in objects:
        image[top : top + height, left : left + width] = colour
        label[top : top + height, left : left + width] = train_id
    noisy = image + np.random.default_rng(0).normal(0, 6, image.shape)
    return noisy.clip(0, 255).astype(np.uint8), label


def coarsened(label: np.ndarray, by: int = 2) -> np.ndarray:
    """The label with `by` pixels on either side of every boundary left unlabelled."""
    coarse = np.full_like(label, IGNORE)
    for train_id in np.unique(label):
        inside = cv2.erode((label == train_id).astype(np.uint8), np.ones((2 * by + 1,) * 2))
        coarse[inside > 0] = train_id
    return coarse


def iou(label: np.ndarray, truth: np.ndarray, train_id: int) -> float:
    return ((label == train_id) & (truth == train_id)).sum() / ((label == train_id) | (truth == train_id)).sum()


RED_CAR = (CAR, 40, 30, 24, 40, (200, 40, 40))
BLUE_CAR = (CAR, 30, 70, 30, 30, (40, 60, 210))
YELLOW_POLE = (POLE, 5, 120, 70, 7, (220, 220, 60))


def test_grabcut_finds_the_outlines_that_coarse_polygons_leave_out():
    image, truth = drawn(RED_CAR, YELLOW_POLE)
    coarse = coarsened(truth)
    refined = build_refiner("grabcut", {}, CLASSES).refine(image, coarse, None)
    assert refined.counts == {"refined": 2, "kept": 0}
    for train_id in (CAR, POLE):
        assert iou(coarse, truth, train_id) < 0.8
        assert iou(refined.label, truth, train_id) > 0.97


def test_what_the_annotator_drew_is_never_overwritten():
    image, truth = drawn(RED_CAR, BLUE_CAR, YELLOW_POLE)
    coarse = coarsened(truth)
    refined = build_refiner("grabcut", {"reach": 0.2}, CLASSES).refine(image, coarse, None).label
    assert np.array_equal(refined[coarse != IGNORE], coarse[coarse != IGNORE])


def test_only_the_refined_classes_grow():
    image, truth = drawn((BUS, 40, 30, 24, 40, (200, 40, 40)))
    coarse = coarsened(truth)
    refined = build_refiner("grabcut", {}, CLASSES).refine(image, coarse, None)
    assert np.array_equal(refined.label, coarse)
    assert refined.counts == {"refined": 0, "kept": 0}


@pytest.mark.parametrize("reach", [2, 6])
def test_an_object_grows_up_to_its_reach_and_no_farther(reach):
    image, truth = drawn(RED_CAR)
    coarse = coarsened(truth, by=4)
    refined = build_refiner("grabcut", {"reach": reach / HEIGHT}, CLASSES).refine(image, coarse, None).label
    distance = cv2.distanceTransform((coarse != CAR).astype(np.uint8), cv2.DIST_L2, 5)
    grown = (refined == CAR) & (coarse != CAR)
    assert grown.any()
    assert distance[grown].max() <= reach
    assert (iou(refined, truth, CAR) > 0.97) == (reach == 6)


def test_an_object_that_grows_implausibly_keeps_its_polygon():
    image, truth = drawn(RED_CAR, YELLOW_POLE)
    coarse = coarsened(truth, by=3)
    settings = {"reach": 0.05, "max_growth": 3.0}  # the car grows to 1.6 times its polygon, the pole to 7
    refined = build_refiner("grabcut", settings, CLASSES).refine(image, coarse, None)
    assert refined.counts == {"refined": 1, "kept": 1}
    assert np.array_equal(refined.label == POLE, coarse == POLE)
    assert iou(refined.label, truth, CAR) > 0.97


def test_instances_are_cut_one_by_one_and_the_smaller_polygon_wins():
    image, truth = drawn(RED_CAR, BLUE_CAR)
    coarse = coarsened(truth)
    coarse[44:60, 68:72] = IGNORE  # where the cars touch, no boundary is drawn
    instances = np.where(coarse == CAR, np.where(np.arange(WIDTH) < 70, 26001, 26002), 0).astype(np.int32)
    refiner = build_refiner("grabcut", {}, CLASSES)
    refined = refiner.refine(image, coarse, instances)
    assert refined.counts["refined"] == 2
    assert iou(refined.label, truth, CAR) > 0.95


def test_equal_inputs_give_equal_labels_after_other_work():
    image, truth = drawn(RED_CAR, BLUE_CAR, YELLOW_POLE)
    coarse = coarsened(truth)
    refiner = build_refiner("grabcut", {"iterations": 3}, CLASSES)
    first = refiner.refine(image, coarse, None)
    cv2.setRNGSeed(77)
    refiner.refine(255 - image, coarse, None)
    assert np.array_equal(refiner.refine(image, coarse, None).label, first.label)


@pytest.mark.parametrize("fill", [IGNORE, ROAD, CAR])
def test_a_label_of_one_value_stays_as_it_is(fill):
    image, _ = drawn()
    coarse = np.full((HEIGHT, WIDTH), fill, np.uint8)
    assert np.array_equal(build_refiner("grabcut", {}, CLASSES).refine(image, coarse, None).label, coarse)


def test_a_single_pixel_is_an_object_too():
    image, _ = drawn(RED_CAR)
    coarse = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    coarse[52, 50] = CAR
    refined = build_refiner("grabcut", {}, CLASSES).refine(image, coarse, None)
    assert refined.label[52, 50] == CAR
    assert sum(refined.counts.values()) == 1


def test_none_returns_the_coarse_label_in_its_own_memory():
    image, truth = drawn(RED_CAR)
    refined = build_refiner("none", {}, CLASSES).refine(image, truth, None)
    assert np.array_equal(refined.label, truth)
    assert not np.shares_memory(refined.label, truth)


def test_unknown_methods_and_settings_are_named():
    with pytest.raises(UserError, match=r"method 'sam' is unknown: choose one of sam_points, .*, grabcut, none"):
        build_refiner("sam", {}, CLASSES)
    with pytest.raises(UserError, match=r"'reech' is not a setting of refinement 'grabcut': choose among reach"):
        build_refiner("grabcut", {"reech": 1}, CLASSES)
    with pytest.raises(UserError, match=r"'iterations' of refinement 'grabcut' is 0: give at least 1"):
        build_refiner("grabcut", {"iterations": 0}, CLASSES)
    with pytest.raises(UserError, match=r"'reach' of refinement 'grabcut' is '2%': give a number"):
        build_refiner("grabcut", {"reach": "2%"}, CLASSES)
