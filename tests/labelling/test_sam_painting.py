"""From coarse masks to prompts, and from refined masks to a label: what needs no model."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.labelling.refinement.sam.guard import compared, plausible
from fewframes.labelling.refinement.sam.painting import MOST_OBJECTS, Canvas, paint_order, thing_train_ids
from fewframes.labelling.refinement.sam.prompts import (
    box_of,
    points_in_and_around,
    random_points,
    soft_mask,
    spread_points,
    surroundings,
    widened_box,
)
from fewframes.labelling.refinement.sam.settings import BoxSettings, GuardSettings, SamSettings
from fewframes.labelling.things import ThingMask, find_things

CLASSES = load_class_table("cityscapes")
ROAD, SKY, POLE, PERSON, CAR, BUS = map(CLASSES.names.index, ("road", "sky", "pole", "person", "car", "bus"))
THINGS = thing_train_ids(CLASSES)
SIZE = (7, 9)

seeds = st.integers(0, 2**32 - 1)


def scene(seed):
    """A coarse label of rectangles with instances of cars, its objects, and a random mask and estimate for each."""
    rng = np.random.default_rng(seed)
    coarse, instances = np.full(SIZE, IGNORE, np.uint8), np.zeros(SIZE, np.int32)
    for n in range(rng.integers(0, 8)):
        (top, left), (height, width) = rng.integers(0, SIZE), rng.integers(1, 6, 2)
        train_id = int(rng.choice([ROAD, SKY, POLE, PERSON, CAR, CAR, BUS]))
        coarse[top : top + height, left : left + width] = train_id
        instances[top : top + height, left : left + width] = 26000 + n if train_id == CAR else 0
    every_class = bool(rng.integers(2))
    train_ids = range(len(CLASSES.names)) if every_class else CLASSES.refined_train_ids
    objects = find_things(coarse, instances, train_ids)
    masks = rng.random((len(objects), *SIZE)) < rng.choice([0.2, 0.5, 0.9])
    iou = rng.integers(0, 3, len(objects)) / 2  # often equal
    return coarse, objects, masks, iou.tolist()


def whole(one, size=SIZE):
    mask = np.zeros(size, bool)
    mask[one.window] = one.mask
    return mask


def painted(coarse, objects, masks, iou, kept=(), **choices):
    chosen = SamSettings(**choices)
    canvas = Canvas("a", coarse, objects, THINGS, chosen)
    for n in paint_order(chosen.overlaps, objects, iou):
        if n not in kept:
            canvas.paint(n, masks[n])
    for n in kept:
        canvas.keep(n)
    return canvas


def test_things_are_the_refined_classes_and_those_with_instances():
    names = [CLASSES.names[t] for t in THINGS]
    stuffless = ["pole", "traffic light", "traffic sign", "person", "rider", "car", "truck", "bus", "train"]
    assert names == [*stuffless, "motorcycle", "bicycle"]


@settings(max_examples=60)
@given(seeds)
def test_by_default_no_pixel_of_another_thing_is_taken_and_what_is_vacated_is_ignored(seed):
    coarse, objects, masks, iou = scene(seed)
    canvas = painted(coarse, objects, masks, iou)
    for n, one in enumerate(objects):
        own = whole(one)
        if one.train_id in THINGS:
            assert np.isin(canvas.owner[own], [n, -1]).all()
            np.testing.assert_array_equal(canvas.owner[own] == n, masks[n][own])
        assert (canvas.label[own & ~masks.any(axis=0)] == IGNORE).all()
    others = np.isin(coarse, THINGS) & ~np.any([whole(o) for o in objects] + [np.zeros(SIZE, bool)], axis=0)
    np.testing.assert_array_equal(canvas.label[others], coarse[others])  # a bus, say


@settings(max_examples=120)
@given(
    seeds,
    st.sampled_from(["stuff_and_unlabelled", "unlabelled", "everything"]),
    st.sampled_from(["ignore", "coarse"]),
    st.sampled_from(["predicted_iou", "smallest"]),
)
def test_a_pixel_goes_to_the_best_of_those_that_may_have_it(seed, overwrites, vacated, overlaps):
    coarse, objects, masks, iou = scene(seed)
    kept = [n for n in range(len(objects)) if (seed + n) % 4 == 0]
    canvas = painted(coarse, objects, masks, iou, kept, overwrites=overwrites, vacated=vacated, overlaps=overlaps)
    best_first = sorted(
        range(len(objects)), key=lambda n: (-iou[n] if overlaps == "predicted_iou" else 0, objects[n].area)
    )
    for pixel in np.ndindex(SIZE):
        coarse_owner = next((n for n, one in enumerate(objects) if whole(one)[pixel]), -1)
        may = {
            "stuff_and_unlabelled": coarse[pixel] not in THINGS,
            "unlabelled": coarse[pixel] == IGNORE,
            "everything": True,
        }[overwrites]
        claim = [n for n in best_first if n not in kept and masks[n][pixel] and (may or coarse_owner == n)]
        if coarse_owner in kept:
            wanted = {coarse_owner}
        elif claim:
            equal = [n for n in claim if objects[n].area == objects[claim[0]].area]
            wanted = {n for n in equal if overlaps == "smallest" or iou[n] == iou[claim[0]]}
        else:
            wanted = {coarse_owner if vacated == "coarse" else -1}
        owner = canvas.owner[pixel]
        assert owner in wanted
        left_alone = IGNORE if coarse_owner >= 0 else coarse[pixel]
        assert canvas.label[pixel] == (objects[owner].train_id if owner >= 0 else left_alone)


@settings(max_examples=50)
@given(seeds, st.sampled_from(["predicted_iou", "smallest"]))
def test_the_numbering_of_objects_does_not_matter(seed, overlaps):
    coarse, objects, masks, iou = scene(seed)
    turned = np.random.default_rng(seed).permutation(len(objects)).tolist()
    first = painted(coarse, objects, masks, iou, overlaps=overlaps)
    second = painted(coarse, [objects[n] for n in turned], masks[turned], [iou[n] for n in turned], overlaps=overlaps)
    np.testing.assert_array_equal(first.label, second.label)
    np.testing.assert_array_equal(first.owner, np.array([*turned, -1])[second.owner])


def test_more_objects_than_can_be_numbered_are_refused():
    one = ThingMask(CAR, 0, 0, np.ones((1, 1), bool))
    with pytest.raises(UserError, match="coarse label of a has 32768 objects, more than the 32767"):
        painted(np.zeros(SIZE, np.uint8), [one] * (MOST_OBJECTS + 1), [], [])


def test_the_guard_measures_areas_overlap_and_the_estimate():
    coarse = ThingMask(CAR, 1, 2, np.ones((2, 4), bool))
    mask = np.zeros(SIZE, bool)
    mask[2:6, 2:5] = True
    found = compared(coarse, mask, 0.8)
    assert (found.area_ratio, found.overlap, found.predicted_iou) == (12 / 8, 3 / 8, 0.8)
    just = {"min_area_ratio": 1.5, "max_area_ratio": 1.5, "min_overlap": 3 / 8, "min_predicted_iou": 0.8}
    assert plausible(found, GuardSettings(**just))
    for key, change in itertools.product(just, (-0.01, 0.01)):
        wrong = change > 0 if key.startswith("min") else change < 0
        assert plausible(found, GuardSettings(**(just | {key: just[key] + change}))) != wrong
    assert not plausible(compared(coarse, np.zeros(SIZE, bool), 1.0), GuardSettings())


@given(seeds, st.integers(1, 6))
def test_random_points_lie_in_the_object_and_differ_where_they_can(seed, count):
    _, objects, _, _ = scene(seed)
    for one in objects:
        points = random_points(one, count, seed, "a")
        assert points.shape == (count, 2) and points.dtype == np.float32
        assert all(whole(one)[int(y), int(x)] for x, y in points)
        assert len({tuple(p) for p in points.tolist()}) == min(count, one.area)


def test_random_points_know_their_image_seed_class_and_place_alone():
    coarse = np.full((60, 80), ROAD, np.uint8)
    coarse[20:40, 20:50] = CAR
    (car,) = find_things(coarse, None, [CAR])
    points = random_points(car, 2, 0, "a")
    coarse[2:10, 2:10], coarse[20:40, 60:70] = CAR, PERSON  # found before it, and after it
    again = next(one for one in find_things(coarse, None, [PERSON, CAR]) if one.top == 20 and one.left == 20)
    np.testing.assert_array_equal(random_points(again, 2, 0, "a"), points)
    others = [(car, 1, "a"), (car, 0, "b"), (ThingMask(BUS, 20, 20, car.mask), 0, "a")]
    for one, seed, image in [*others, (ThingMask(CAR, 21, 20, car.mask), 0, "a")]:
        offset = [0, one.top - car.top]
        assert not np.array_equal(random_points(one, 2, seed, image), points + offset)


def test_random_points_are_drawn_from_all_of_the_object():
    one = ThingMask(CAR, 3, 5, np.array([[1, 1, 1], [1, 0, 1]], bool))
    drawn = {tuple(p) for n in range(200) for p in random_points(one, 1, 0, f"{n}").tolist()}
    assert drawn == {(5, 3), (6, 3), (7, 3), (5, 4), (7, 4)}


def test_points_spread_over_what_is_deep():
    depth = np.zeros((5, 12), np.float32)
    depth[2, 1:11] = [1, 2, 3, 4, 4, 3.9, 3, 2, 2, 1]
    assert spread_points(depth, 4).tolist() == [[4, 2], [9, 2], [2, 2], [6, 2]]
    assert spread_points((depth == 3.9).astype(np.float32), 3).tolist() == [[6, 2]] * 3


NEAR = BoxSettings(box_margin=0.1, outside_points=2)


def box_scene():
    """An object in the middle of nothing, in an image of 100 x 120."""
    coarse = np.full((100, 120), IGNORE, np.uint8)
    coarse[40:60, 50:75] = CAR
    (car,) = find_things(coarse, None, [CAR])
    return coarse, car


@pytest.mark.parametrize(("left", "label"), [(77, PERSON), (79, IGNORE)])
def test_points_around_an_object_lie_deep_in_what_bears_another_label_nearby(left, label):
    coarse, car = box_scene()
    coarse[40:60, left:] = PERSON
    assert surroundings(car, coarse.shape, NEAR).window == (slice(36, 64), slice(46, 79))
    points, inside = points_in_and_around(coarse, car, NEAR)
    assert inside.tolist() == [True] * 3 + [False] * 2
    assert [coarse[int(y), int(x)] for x, y in points] == [CAR] * 3 + [label] * 2


def test_points_around_an_object_without_neighbours_are_far_from_it():
    coarse, car = box_scene()
    points, inside = points_in_and_around(coarse, car, BoxSettings(box_margin=0.2, outside_points=2))
    left, top, right, bottom = box_of(surroundings(car, coarse.shape, BoxSettings(box_margin=0.2)))
    assert (~inside).sum() == 2
    for x, y in points[~inside]:
        assert left <= x <= right and top <= y <= bottom
        assert min(max(50 - x, x - 74, 0) + max(40 - y, y - 59, 0), 99) >= 4


def test_an_object_that_is_all_there_is_has_no_points_around_it():
    coarse = np.full((30, 40), CAR, np.uint8)
    (car,) = find_things(coarse, None, [CAR])
    points, inside = points_in_and_around(coarse, car, NEAR)
    assert inside.all() and len({tuple(p) for p in points.tolist()}) == 5
    assert widened_box(car, coarse.shape, NEAR).tolist() == [0, 0, 39, 29]
    assert not points_in_and_around(coarse, car, BoxSettings(outside_points=0))[1][3:].size


@given(seeds, st.integers(1, 4), st.integers(0, 3))
def test_points_in_and_around_are_where_they_are_said_to_be(seed, inside_points, outside_points):
    coarse, objects, _, _ = scene(seed)
    chosen = BoxSettings(inside_points=inside_points, outside_points=outside_points)
    for one in objects:
        points, inside = points_in_and_around(coarse, one, chosen)
        assert len(points) == inside_points + outside_points and inside[:inside_points].all()
        assert [bool(whole(one)[int(y), int(x)]) for x, y in points] == inside.tolist()


def test_a_box_is_widened_by_its_margin():
    coarse, car = box_scene()
    assert box_of(car).tolist() == [50, 40, 74, 59]
    assert widened_box(car, coarse.shape, BoxSettings(box_margin=0.2)).tolist() == [46, 36, 78, 63]  # of 22 px
    assert widened_box(car, coarse.shape, BoxSettings(box_margin=0)).tolist() == [49, 39, 75, 60]


def test_a_soft_mask_rises_across_the_outline_and_keeps_thin_things():
    cells = np.zeros((20, 30), bool)
    cells[4:16, 3:13] = True
    cells[2:18, 20] = True
    logits = soft_mask(cells, BoxSettings(mask_logit=6, mask_rim=3))
    assert logits.dtype == np.float32 and ((logits > 0) == cells).all()
    np.testing.assert_allclose(logits[9, :9], [-6, -4, -2, 2, 4, 6, 6, 6, 6], atol=0.1)
    assert logits[9, 20] == pytest.approx(2)
    for all_or_none in (np.ones((8, 8), bool), np.zeros((8, 8), bool)):
        assert (soft_mask(all_or_none, BoxSettings(mask_logit=6)) == np.where(all_or_none, 6, -6)).all()
