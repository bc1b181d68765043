import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewframes.core.clips import LABEL_COLUMNS, Clip
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, write_csv
from fewframes.core.labelfile import Layer, write_label_file
from fewframes.experiments.corrected import Corrected
from fewframes.experiments.manifests import Labels, Pick, write_manifest
from fewframes.learning.augmentation import recipe
from fewframes.learning.samples import Batches, Sample, SampleReader, read_manifest

PLAIN = recipe("tmanet", (48, 64), (1, 1), flip=False, photometric=False)


def reader_of(tiny) -> SampleReader:
    return SampleReader(tiny.root, tiny.labels_root, tiny.classes)


def test_a_manifest_is_read_in_its_order(tiny) -> None:
    samples = read_manifest(tiny.manifest)
    assert samples[0] == Sample("clip0", 0, "fine", "0.png", ("0_past.png",), "0_label.png", samples[0].fingerprint)
    again = samples[1].fingerprint
    assert samples[1] == Sample("clip1", 10, "pseudo:flow", "1.png", ("1_past.png",), "flow/1.h5", again)
    assert len({s.fingerprint for s in samples}) == len(samples)
    assert [s.in_label_file for s in samples] == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("clip,offset,source,image,memory_1,label,fingerprint\n", "lists no sample"),
        ("clip,offset,source,image,label,fingerprint\na,x,fine,i,l,f\n", "is damaged"),
        ("clip,offset,source,image,memory_2,label,fingerprint\na,0,fine,i,m,l,f\n", "is damaged"),
        ("clip,offset,source,image,fingerprint\n", "has no column 'label'"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UserError, match=f"m.csv {named}"):
        read_manifest(tmp_path / "m.csv")


def test_labels_of_both_kinds_are_train_ids_and_frames_come_oldest_first(tiny) -> None:
    for sample in read_manifest(tiny.manifest):
        frames, label = reader_of(tiny)(sample)
        np.testing.assert_array_equal(frames[0], np.asarray(Image.open(tiny.root / sample.memory[0])))
        np.testing.assert_array_equal(frames[1], np.asarray(Image.open(tiny.root / sample.image)))
        assert set(np.unique(label)) == {0, 3, 8}


def test_native_ids_are_converted(own_tiny) -> None:
    Image.fromarray(np.full((48, 64), 11, np.uint8)).save(own_tiny.root / "0_label.png")
    _, label = reader_of(own_tiny)(read_manifest(own_tiny.manifest)[0])
    assert (label == 255).all()


def test_kept_samples_equal_read_ones_and_need_no_file(own_tiny) -> None:
    samples = read_manifest(own_tiny.manifest)
    reader, kept = reader_of(own_tiny), reader_of(own_tiny)
    assert not kept.keep(samples, megabytes=0.05)
    assert kept.keep(samples, megabytes=1)
    read = [reader(sample) for sample in samples]
    for file in own_tiny.root.iterdir():
        file.unlink()
    for (frames, label), sample in zip(read, samples, strict=True):
        again, label_again = kept(sample)
        np.testing.assert_array_equal(frames, again)
        np.testing.assert_array_equal(label, label_again)


def test_missing_files_and_misfits_are_named(own_tiny) -> None:
    samples = read_manifest(own_tiny.manifest)
    reader = reader_of(own_tiny)
    reader.check_files(samples)
    Image.new("RGB", (32, 32)).save(own_tiny.root / "0_past.png")
    with pytest.raises(UserError, match=r"0_past.png is 32x32 pixels .* 64x48"):
        reader(samples[0])
    write_label_file(own_tiny.labels_root / samples[1].label, {10: Layer(np.zeros((5, 6), np.uint8), "f")}, {})
    with pytest.raises(UserError, match=r"flow/1.h5 is 6x5 pixels .* 64x48"):
        reader(samples[1])
    write_label_file(own_tiny.labels_root / samples[1].label, {10: Layer(np.full((48, 64), 99, np.uint8), "f")}, {})
    with pytest.raises(UserError, match=r"flow/1.h5 holds train ids beyond the 11 classes"):
        reader(samples[1])
    (own_tiny.root / "2.png").unlink()
    with pytest.raises(UserError, match=r"2.png is named in the manifest and does not exist"):
        reader.check_files(samples)


def written(tiny) -> tuple[list[Sample], ContentHashes]:
    """A manifest as the experiments write it: of a fine label, a propagated one and one that a person corrected."""
    hashes = ContentHashes(tiny.labels_root / "hashes", "test")
    labels = tiny.labels_root / "labels.csv"
    write_csv(labels, LABEL_COLUMNS, [("clip1", 10, "flow/1.h5", "f", "")])
    picks = [
        Pick(Clip("clip0", "train", "", "0.png", fine="0_label.png"), 0, "fine"),
        Pick(Clip("clip1", "train", "", "key.png", frames="{frame}.png", key=-9, last=10), 10, "pseudo"),
        Pick(Clip("clip2", "train", "", "2.png"), 0, "refined"),
    ]
    mended = Layer(reader_of(tiny).label(read_manifest(tiny.manifest)[2]), "").checksum
    corrected = {("clip2", 0, "refined"): Corrected("2_label.png", mended, 1.0)}
    write_manifest(tiny.manifest, picks, tiny.root, hashes, 1, {"pseudo": Labels("flow", labels)}, corrected)
    return read_manifest(tiny.manifest), hashes


def test_files_that_are_what_the_manifest_was_written_of_pass(own_tiny) -> None:
    samples, hashes = written(own_tiny)
    assert [sample.source for sample in samples] == ["fine", "pseudo:flow", "corrected-refined"]
    reader_of(own_tiny).check_files(samples, hashes)


@pytest.mark.parametrize("changed", ["0.png", "0_label.png", "1.png", "2_label.png", "flow/1.h5"])
def test_a_changed_file_is_found_before_the_training_starts(own_tiny, changed: str) -> None:
    samples, hashes = written(own_tiny)
    if changed.endswith("h5"):
        write_label_file(own_tiny.labels_root / changed, {10: Layer(np.zeros((48, 64), np.uint8), "another")}, {})
    else:
        pixels = np.asarray(Image.open(own_tiny.root / changed)).copy()
        pixels[0, 0] = 4
        Image.fromarray(pixels).save(own_tiny.root / changed)
    reader_of(own_tiny).check_files(samples)
    with pytest.raises(UserError, match=r"has changed since the manifest was written: run `snakemake` again"):
        reader_of(own_tiny).check_files(samples, hashes)


def test_every_epoch_is_a_permutation_of_its_own(tiny) -> None:
    samples = read_manifest(tiny.manifest)
    batches = Batches(samples, reader_of(tiny), PLAIN, size=2, seed=7)
    order = [batches.index(iteration, slot) for iteration in range(25) for slot in range(2)]
    epochs = [tuple(order[i : i + 5]) for i in range(0, 50, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(epochs)) > 5
    other = Batches(samples, reader_of(tiny), PLAIN, size=2, seed=8)
    assert [other.index(i, s) for i in range(25) for s in range(2)] != order


@pytest.mark.parametrize("name", ["tdnet", "tmanet"])
def test_a_batch_depends_on_seed_and_iteration_alone(tiny, name: str) -> None:
    samples = read_manifest(tiny.manifest)
    augment = recipe(name, (32, 48), (0.5, 2.0), flip=True, photometric=True)
    one, two = (Batches(samples, reader_of(tiny), augment, size=3, seed=1) for _ in range(2))
    for iteration in (0, 1, 2):
        one.made(iteration)
    batch, again = one.made(3), two.made(3)
    assert batch.frames.shape == (3, 2, 32, 48, 3)
    assert batch.normalised().dtype == np.float32
    assert batch.labels.shape == (3, 32, 48)
    for part, same in zip(batch, again, strict=True):
        np.testing.assert_array_equal(part, same)
    assert not np.array_equal(batch.frames, one.made(4).frames)
    assert one.names(3) == [samples[one.index(3, slot)].image for slot in range(3)]


@pytest.mark.parametrize("name", ["tdnet", "tmanet"])
def test_a_batch_is_made_without_the_rows_that_its_views_leave_out(tiny, name: str) -> None:
    samples = read_manifest(tiny.manifest)
    augment = recipe(name, (16, 48), (1.0, 3.0), flip=True, photometric=True)
    read, kept = (Batches(samples, reader_of(tiny), augment, size=5, seed=1) for _ in range(2))
    assert kept._reader.keep(samples, megabytes=1)  # whole images
    for iteration in range(4):
        for made, again in zip(read.made(iteration), kept.made(iteration), strict=True):
            np.testing.assert_array_equal(made, again)


def test_reading_samples_needs_no_torch() -> None:
    code = "import sys, fewframes.learning.samples; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
