import numpy as np
import pytest
import torch

from fewframes.core.errors import UserError
from fewframes.learning.augmentation import recipe
from fewframes.learning.feeding import feed, normalised, sent
from fewframes.learning.samples import Batches, SampleReader, read_manifest

CPU = torch.device("cpu")


def batches_of(tiny) -> Batches:
    reader = SampleReader(tiny.root, tiny.labels_root, tiny.classes)
    augment = recipe("tmanet", (40, 80), (0.5, 1.5), flip=True, photometric=True)
    return Batches(read_manifest(tiny.manifest), reader, augment, size=3, seed=5)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_from_the_iteration_asked_for_in_order_and_as_they_are(tiny, workers: int) -> None:
    batches = batches_of(tiny)
    fed = list(feed(batches, range(3, 8), workers, CPU))
    assert len(fed) == 5
    for iteration, (frames, labels) in zip(range(3, 8), fed, strict=True):
        expected = batches.made(iteration)
        assert frames.dtype == torch.float32 and labels.dtype == torch.uint8
        np.testing.assert_array_equal(frames.numpy(), expected.normalised())
        np.testing.assert_array_equal(labels.numpy(), expected.labels)


def test_bytes_are_normalised_on_a_device_as_they_are_here(tiny) -> None:
    batches = batches_of(tiny)
    partly = 0
    for iteration, (frames, _, filled) in enumerate(sent(batches, range(6), workers=0)):
        assert frames.dtype == torch.uint8
        partly += int((filled < torch.tensor([40, 80])).any())
        np.testing.assert_array_equal(normalised(frames, filled.tolist()).numpy(), batches.made(iteration).normalised())
    assert partly  # some image did not fill its crop


def test_a_damaged_file_is_one_sentence_from_a_worker_too(own_tiny) -> None:
    (own_tiny.root / "3.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as caught:
        list(feed(batches_of(own_tiny), range(4), 1, CPU))
    assert "3.png is not a readable image" in str(caught.value)
    assert "Traceback" not in str(caught.value)
