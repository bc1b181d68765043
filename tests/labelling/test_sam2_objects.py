import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewframes.core.labels import load_class_table
from fewframes.labelling.propagation.sam2.objects import MAPPINGS, find_objects

CITYSCAPES = load_class_table("cityscapes")
ROAD, POLE, SKY, CAR = (CITYSCAPES.names.index(name) for name in ("road", "pole", "sky", "car"))


@pytest.fixture
def street():
    """Sky over road; two poles; two touching cars told apart, a group of cars, and void."""
    label = np.full((20, 40), ROAD, np.uint8)
    label[:8] = SKY
    label[2:12, 3:5] = label[2:12, 36:38] = POLE
    label[10:16, 10:22] = CAR
    label[17:20, 30:38] = CAR
    label[17:20, :6] = 255
    instances = np.zeros(label.shape, np.int32)
    instances[10:16, 10:15], instances[10:16, 15:22] = 26001, 26002
    instances[17:20, 30:38] = 26
    return label, instances


def found(objects):
    areas = np.bincount(objects.index[objects.index >= 0], minlength=len(objects))
    return list(zip(objects.train_ids, areas.tolist(), strict=True))


def test_panoptic_takes_instances_of_things_and_classes_of_stuff(street):
    label, instances = street
    assert found(find_objects(label, instances, CITYSCAPES, least_area=1)) == [
        (ROAD, int((label == ROAD).sum())),
        (POLE, 40),
        (SKY, int((label == SKY).sum())),
        (CAR, 30),
        (CAR, 42),
        (CAR, 24),
    ]


def test_without_instance_ids_things_are_told_apart_by_components(street):
    assert found(find_objects(street[0], None, CITYSCAPES, least_area=1))[-2:] == [(CAR, 72), (CAR, 24)]


def test_class_takes_every_class_as_one_object(street):
    objects = find_objects(*street, CITYSCAPES, "class")
    assert objects.train_ids == (ROAD, POLE, SKY, CAR)
    assert found(objects)[-1] == (CAR, 96)


def test_component_tells_the_parts_of_every_class_apart(street):
    objects = find_objects(*street, CITYSCAPES, "component", least_area=1)
    assert [area for train_id, area in found(objects) if train_id == POLE] == [20, 20]


def test_small_pieces_and_those_beyond_the_cap_are_one_object_per_class(street):
    label, instances = street
    assert found(find_objects(label, instances, CITYSCAPES, least_area=31))[-2:] == [(CAR, 42), (CAR, 54)]
    capped = find_objects(label, instances, CITYSCAPES, least_area=1, most_things=1)
    assert found(capped)[-2:] == [(CAR, 42), (CAR, 54)]


@settings(max_examples=60)
@given(
    arrays(np.uint8, (9, 11), elements=st.sampled_from([ROAD, POLE, CAR, 255])),
    st.sampled_from(MAPPINGS),
    st.integers(1, 8),
    st.integers(0, 3),
)
def test_objects_give_the_label_back_and_never_hold_ignore(label, mapping, least_area, most_things):
    objects = find_objects(label, None, CITYSCAPES, mapping, least_area=least_area, most_things=most_things)
    back = np.append(np.array(objects.train_ids, np.uint8), np.uint8(255))[objects.index]
    np.testing.assert_array_equal(back, label)
    assert list(objects.train_ids) == sorted(objects.train_ids)
    assert all(area > 0 for _, area in found(objects))
    assert len(objects) <= len(np.unique(label)) + most_things


def test_a_label_of_ignore_has_no_objects():
    assert not find_objects(np.full((4, 4), 255, np.uint8), None, CITYSCAPES)
