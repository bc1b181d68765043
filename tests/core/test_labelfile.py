import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewframes.core.errors import UserError
from fewframes.core.labelfile import (
    Layer,
    read_fingerprints,
    read_label_layer,
    read_layer,
    read_provenance,
    write_label_file,
)

LABELS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 255))


@settings(max_examples=30)
@given(st.dictionaries(st.integers(-19, 15), LABELS, min_size=1, max_size=4))
def test_layers_come_back_as_they_were(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("labels") / "clip.h5"
    objects = {"presence": np.array([0.5, 1], np.float32), "train_id": np.array([3, 4], np.uint8)}
    notes = {"device": "GPU"}
    layers = {o: Layer(label, f"f{o}", {"confidence": label // 2}, objects, notes) for o, label in labels.items()}
    write_label_file(path, layers, {"clip": "c", "method": "m"})
    assert read_provenance(path) == {"clip": "c", "method": "m"}
    assert read_fingerprints(path) == {o: (layer.fingerprint, layer.checksum) for o, layer in layers.items()}
    for offset, layer in layers.items():
        back = read_layer(path, offset)
        assert np.array_equal(back.label, layer.label)
        assert np.array_equal(back.maps["confidence"], layer.maps["confidence"]) and len(back.maps) == 1
        assert {name: column.tolist() for name, column in back.objects.items()} == {
            "presence": [0.5, 1],
            "train_id": [3, 4],
        }
        assert back.notes == notes
        assert np.array_equal(read_label_layer(path, offset), layer.label)
        assert read_layer(path, offset, maps=()).maps == {}


@pytest.fixture
def label_file(tmp_path):
    path = tmp_path / "clip.h5"
    write_label_file(path, {1: Layer(np.arange(64, dtype=np.uint8).reshape(8, 8), "f")}, {})
    return path


def test_an_absent_offset_is_named(label_file):
    with pytest.raises(UserError, match=r"clip\.h5 holds no label at offset 2"):
        read_label_layer(label_file, 2)


def test_a_truncated_file_is_named_and_counts_as_absent(label_file):
    label_file.write_bytes(label_file.read_bytes()[:-200])
    assert read_fingerprints(label_file) == {}
    with pytest.raises(UserError, match="damaged"):
        read_label_layer(label_file, 1)


def test_changed_pixels_are_noticed(label_file):
    with h5py.File(label_file, "r+") as file:
        file["labels/1"][0, 0] = 99
    with pytest.raises(UserError, match="damaged"):
        read_label_layer(label_file, 1)


@pytest.mark.parametrize("place", ["confidence/1", "objects/1/presence"])
def test_what_lies_beside_a_label_is_checked_too(tmp_path, place):
    path = tmp_path / "clip.h5"
    beside = {"confidence": np.zeros((2, 2), np.uint8)}, {"presence": np.zeros(3, np.float32)}
    write_label_file(path, {1: Layer(np.zeros((2, 2), np.uint8), "f", *beside)}, {})
    assert read_layer(path, 1).maps.keys() == {"confidence"}
    with h5py.File(path, "r+") as file:
        file[place][0] = 1
    with pytest.raises(UserError, match="damaged"):
        read_layer(path, 1)
    with h5py.File(path, "r+") as file:
        del file[place]
    with pytest.raises(UserError, match="damaged"):
        read_layer(path, 1)
    assert read_label_layer(path, 1).shape == (2, 2)
