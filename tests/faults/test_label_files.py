"""Label files that are damaged behind our back, made by two at once, or read by many."""

import contextlib
import os
import random
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from fewframes.core import labelfile
from fewframes.core.clips import Clip, write_clips
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, content_hash, read_csv
from fewframes.core.labelfile import (
    Layer,
    made_layers,
    read_fingerprints,
    read_layer,
    read_provenance,
    write_label_file,
)
from fewframes.core.labels import load_class_table
from fewframes.experiments.manifests import sample_fingerprint
from fewframes.labelling.exporting.driver import export
from fewframes.labelling.propagation import driver
from fewframes.labelling.propagation.driver import propagate_shard
from fewframes.labelling.quality import write_quality
from fewframes.labelling.refinement.driver import refine_shard
from fewframes.learning.samples import Sample, SampleReader
from fewframes.reporting.gallery import write_gallery

CITYSCAPES = load_class_table("cityscapes")
MEND = "run `fewframes verify --mend`, then `snakemake` again"
LAYERS = {
    offset: Layer(
        (np.arange(3000).reshape(50, 60) // 300 + offset).astype(np.uint8),
        f"f{offset}",
        {"confidence": np.full((50, 60), offset, np.uint8)},
        {"presence": np.ones(3, np.float32)},
        {"device": "GPU"},
    )
    for offset in range(3)
}


@pytest.fixture
def label_file(tmp_path):
    path = tmp_path / "clip.h5"
    write_label_file(path, LAYERS, {"clip": "c", "method": "m"})
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two clips of three frames."""
    root = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(0)
    clips = []
    for name in ("one", "two"):
        for number in range(3):
            Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(root / f"{name}_{number}.png")
        Image.fromarray(rng.integers(0, 34, (48, 64), np.uint8)).save(root / f"{name}_fine.png")
        facts = {"id": name, "split": "train", "group": "g", "image": f"{name}_1.png", "frames": name + "_{frame}.png"}
        labels = {"fine": f"{name}_fine.png", "coarse": f"{name}_fine.png", "truth": name + "_fine.png"}
        clips.append(Clip(**facts, **labels, key=1, first=-1, last=1))
    return root, clips


class Labels:
    """The labels of both clips in a folder of results."""

    def __init__(self, folder, dataset):
        self.folder = folder
        self.root, self.clips = dataset

    def make(self, offsets="-1 1"):
        """As a job does that visits the shard."""
        shard, kept = self.folder / "0000.csv", {c.id: "" for c in self.clips}
        write_clips(shard, self.clips, {"offsets": dict.fromkeys(kept, offsets), "state": kept})
        arguments = (self.root, CITYSCAPES, self.folder)
        propagate_shard(shard, "copy", {}, *arguments, self.folder / "pseudo/copy/labels.csv")
        refine_shard(shard, "none", {}, *arguments, self.folder / "refined/none/labels.csv")

    def files(self):
        return {path: (path.stat().st_mtime_ns, content_hash(path)) for path in self.folder.rglob("[!.]*.h5")}

    def tables(self):
        return {path: path.read_bytes() for path in self.folder.glob("*/*/labels.csv")}

    def sample(self, clip):
        (row,) = [r for r in self.rows() if (r["clip"], r["offset"]) == (clip, "1")]
        image = f"{clip}_2.png"
        known = sample_fingerprint([self.root / image], row["fingerprint"], ContentHashes(self.folder / "hashes", "s"))
        return Sample(clip, 1, "pseudo:copy", image, (), row["file"], known)

    def rows(self):
        return read_csv(self.folder / "pseudo/copy/labels.csv", ("clip", "offset", "file", "fingerprint"))


@pytest.fixture
def labels(tmp_path, dataset):
    labels = Labels(tmp_path / "results", dataset)
    labels.make()
    return labels


def check_for_training(labels):
    reader = SampleReader(labels.root, labels.folder, CITYSCAPES)
    samples = [labels.sample(clip.id) for clip in labels.clips]
    reader.check_files(samples, ContentHashes(labels.folder / "hashes", "train"))


def train_on(labels):
    reader = SampleReader(labels.root, labels.folder, CITYSCAPES)
    for clip in labels.clips:
        reader(labels.sample(clip.id))


def measure(labels):
    made, out = labels.folder / "pseudo/copy/labels.csv", labels.folder / "quality.csv"
    write_quality("copy", made, labels.clips, 1, labels.folder, labels.root, CITYSCAPES, out)


def show(labels):
    made, out = labels.folder / "pseudo/copy/labels.csv", labels.folder / "gallery.html"
    write_gallery(labels.clips, made, labels.root, None, labels.folder, CITYSCAPES, out)


def give_away(labels):
    write_clips(labels.folder / "index.csv", labels.clips)
    made, out = labels.folder / "pseudo/copy/labels.csv", labels.folder / "exported"
    export("cityscapes", made, labels.folder, labels.root, CITYSCAPES, out)


def truncated(path):
    os.truncate(path, path.stat().st_size * 2 // 3)


def emptied(path):
    os.truncate(path, 0)


def gone(path):
    path.unlink()


def of_another(path):
    path.write_bytes(b"\x89PNG and no HDF5" * 100)


def overwritten(path):
    """Where pixels lie, whose checksum is then wrong."""
    with h5py.File(path, "r") as file:
        place = file["labels/1"].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(place.byte_offset)
        file.write(bytes(place.size))


@pytest.mark.parametrize("use", [train_on, measure, show, give_away])
@pytest.mark.parametrize("damage", [truncated, emptied, gone, of_another, overwritten])
def test_a_damaged_label_file_is_named_where_it_is_read_and_the_mend_makes_it_alone(labels, damage, use):
    before, tables = labels.files(), labels.tables()
    file = labels.folder / labels.rows()[0]["file"]
    damage(file)
    with pytest.raises(
        UserError, match=rf"{file.name} is missing or damaged: {MEND}|{file.name} is named .* not exist"
    ):
        use(labels)
    file.unlink(missing_ok=True)
    labels.make()
    after = labels.files()
    assert {path for path, known in after.items() if before[path] != known} == {file}
    assert after[file][1] == before[file][1] and labels.tables() == tables
    use(labels)


@pytest.mark.parametrize("damage", [truncated, emptied, of_another])
def test_a_job_makes_what_it_finds_damaged(labels, damage):
    before = labels.files()
    for path in before:
        damage(path)
    labels.make()
    assert {path: known[1] for path, known in labels.files().items()} == {p: known[1] for p, known in before.items()}


@pytest.mark.parametrize("damage", [truncated, emptied, of_another])
def test_a_training_finds_a_damaged_label_file_before_it_starts(labels, damage):
    check_for_training(labels)
    file = labels.folder / labels.rows()[0]["file"]
    damage(file)
    with pytest.raises(UserError, match=rf"{file.name} is missing or damaged: {MEND}"):
        check_for_training(labels)


def test_no_byte_can_be_damaged_unnoticed_nor_send_hdf5_in_a_circle(label_file):
    """In the format that h5py writes unasked, about one in a few hundred such files is read for ever."""
    good, rng = label_file.read_bytes(), random.Random(0)
    for _ in range(300):
        data = bytearray(good)
        start, length = rng.randrange(len(data)), rng.choice([1, 1, 8, 64, 512])
        length = min(length, len(data) - start)
        data[start : start + length] = rng.choice([bytes(length), rng.randbytes(length)])
        label_file.write_bytes(data if rng.random() < 0.8 else data[:start])
        for offset, layer in LAYERS.items():
            try:
                found = read_layer(label_file, offset)
            except UserError as error:
                assert MEND[:20] in str(error) or "holds no label" in str(error)
            else:
                assert (found.label == layer.label).all() and found.fingerprint == layer.fingerprint
                assert (found.maps["confidence"] == layer.maps["confidence"]).all()
        with contextlib.suppress(UserError):
            assert read_provenance(label_file) == {"clip": "c", "method": "m"}
        found = read_fingerprints(label_file)
        assert all(found[o] == (LAYERS[o].fingerprint, LAYERS[o].checksum) for o in found)


def test_files_of_the_older_format_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(labelfile, "_FORMAT", None)
    monkeypatch.setattr(labelfile, "_note", lambda attributes, texts: attributes.update(texts))
    write_label_file(tmp_path / "old.h5", LAYERS, {"clip": "c"})
    assert read_provenance(tmp_path / "old.h5") == {"clip": "c"}
    assert (read_layer(tmp_path / "old.h5", 2).label == LAYERS[2].label).all()
    assert made_layers(tmp_path / "old.h5", (0, 1, 2))[1] == ("f1", LAYERS[1].checksum)


@contextlib.contextmanager
def at_once(program, count, *arguments):
    """Processes that run a program when all have imported what they need; they must end well."""
    waits = "print(flush=True); sys.stdin.readline()\n"
    command = [sys.executable, "-c", f"import sys\n{program.replace('# now', waits)}", *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    yield processes
    ends = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * count, ends


VISITS = """
from pathlib import Path
from fewframes.core.labels import load_class_table
from fewframes.labelling.propagation.driver import propagate_shard
from fewframes.labelling.refinement.driver import refine_shard
folder, files = Path(sys.argv[1]), (Path(sys.argv[2]), load_class_table("cityscapes"), Path(sys.argv[1]))
# now
propagate_shard(folder / "0000.csv", "copy", {}, *files, folder / "pseudo/copy/labels.csv")
refine_shard(folder / "0000.csv", "none", {}, *files, folder / "refined/none/labels.csv")
"""


def test_two_jobs_of_one_shard_at_once_make_what_one_makes(labels):
    files, tables = labels.files(), labels.tables()
    for path in (*files, *tables):
        path.unlink()
    with at_once(VISITS, 2, labels.folder, labels.root):
        pass
    assert {path: known[1] for path, known in labels.files().items()} == {p: known[1] for p, known in files.items()}
    assert labels.tables() == tables
    assert not list(labels.folder.rglob(".*"))


def test_a_label_that_another_run_took_away_is_named(labels, monkeypatch):
    """Two runs with other settings ask for other offsets of one clip, and the later file has its own alone."""

    def write(path, layers, provenance):
        write_label_file(path, layers, provenance)
        write_label_file(path, {0: layers[0]}, provenance)

    shutil.rmtree(labels.folder)
    monkeypatch.setattr(driver, "write_label_file", write)
    with pytest.raises(UserError, match=r"holds no label at offset -1: run `fewframes verify --mend`"):
        labels.make()


READS = """
from fewframes.core.labelfile import read_label_layer
# now
for _ in range(30):
    for offset in range(3):
        assert read_label_layer(sys.argv[1], offset).max() == 9 + offset
"""


def test_many_read_a_label_file_while_it_is_written_anew(label_file):
    with at_once(READS, 8, label_file) as readers:
        while any(reader.poll() is None for reader in readers):
            write_label_file(label_file, LAYERS, {"clip": "c", "method": "m"})


def test_no_lock_is_asked_for(tmp_path):
    """On a filesystem that refuses locks, as some clusters' do; a library in C is needed to play it."""
    source, library = tmp_path / "flock.c", tmp_path / "flock.so"
    source.write_text("#include <errno.h>\nint flock(int file, int how) { errno = ENOLCK; return -1; }\n")
    compiler = shutil.which("cc")
    if compiler is None or subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source]).returncode:
        pytest.skip("there is no compiler of C here")
    program = (
        "import sys, h5py, numpy as np\n"
        "from fewframes.core.labelfile import Layer, read_label_layer, write_label_file\n"
        "write_label_file(sys.argv[1], {0: Layer(np.zeros((5, 5), np.uint8), 'f')}, {})\n"
        "assert read_label_layer(sys.argv[1], 0).shape == (5, 5)\n"
        "try:\n    h5py.File(sys.argv[1], 'r+', locking=True)\n"
        "except OSError as error:\n    assert error.errno == 37, error\n"
        "else:\n    raise SystemExit('locks are not refused')\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "HDF5_USE_FILE_LOCKING"} | {"LD_PRELOAD": str(library)}
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "c.h5"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
