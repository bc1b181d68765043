import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewframes.labelling.things import ThingMask, find_things


def test_components_touch_at_corners_and_keep_to_one_class():
    label = np.zeros((4, 6), np.uint8)
    label[0, 0] = label[1, 1] = 5
    label[3, 3:] = 5
    label[2, 3] = 7
    things = find_things(label, None, (5, 7))
    assert [(t.train_id, t.area, t.top, t.left) for t in things] == [(5, 2, 0, 0), (5, 3, 3, 3), (7, 1, 2, 3)]
    assert things[0].mask.tolist() == [[True, False], [False, True]]


def test_instance_ids_tell_touching_objects_apart_and_hold_parts_together():
    label = np.full((3, 6), 13, np.uint8)
    instances = np.full((3, 6), 26001, np.int32)
    instances[:, 2:4] = 26002
    things = find_things(label, instances, (13,))
    assert [(t.area, t.left, t.mask.shape) for t in things] == [(12, 0, (3, 6)), (6, 2, (3, 2))]


def test_groups_and_classes_without_instance_ids_fall_into_components():
    label = np.zeros((3, 8), np.uint8)
    instances = label.astype(np.int32)
    label[:, 0:2], instances[:, 0:2] = 13, 26001
    label[:, 2:4], instances[:, 2:4] = 13, 26  # a group of cars, beside a car
    label[:, 5], instances[:, 5] = 5, 17
    label[:, 7], instances[:, 7] = 5, 17
    things = find_things(label, instances, (13, 5))
    assert [(t.train_id, t.left, t.area) for t in things] == [(5, 5, 3), (5, 7, 3), (13, 0, 6), (13, 2, 6)]


@settings(max_examples=40)
@given(arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 2, 255])), st.booleans(), st.integers(0, 5))
def test_things_are_every_pixel_of_their_classes_once(label, with_instances, pad):
    instances = None
    if with_instances:
        instances = label + np.where(np.arange(11) % 3 == 0, 1000, 0).astype(np.int32)
    count = np.zeros(label.shape, int)
    for thing in find_things(label, instances, (1, 2)):
        assert thing.area > 0
        assert (label[thing.window][thing.mask] == thing.train_id).all()
        wider = thing.padded(pad, label.shape)
        assert wider.area == thing.area
        count[wider.window][wider.mask] += 1
    assert np.array_equal(count, np.isin(label, (1, 2)).astype(int))


def test_padding_stops_at_the_image():
    thing = ThingMask(1, 1, 2, np.ones((2, 3), bool)).padded(3, (5, 20))
    assert (thing.top, thing.left, thing.mask.shape) == (0, 0, (5, 8))
    assert thing.mask[1:3, 2:5].all()
