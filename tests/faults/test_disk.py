"""A disk that is full or read-only ends each way of writing in one sentence; what was there stays, and it goes on."""

import os
import stat
import subprocess

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, folder_written_whole, write_csv, write_text, written_whole
from fewframes.core.labelfile import Layer, write_label_file
from fewframes.core.labels import load_class_table
from fewframes.experiments.study import _check_writable
from fewframes.learning.checkpoints import CheckpointFile
from fewframes.learning.journal import WINDOW, Journal
from fewframes.learning.lease import lease
from fewframes.learning.modelfile import save_model
from fewframes.learning.settings import TrainingSettings
from fewframes.reporting.figures.style import save

CAMVID = load_class_table("camvid")
NOISE = np.random.default_rng(0).integers(0, 11, (160, 200), np.uint8)
"""32 kB which no compression makes less than 12."""
FULL = r"cannot be written \((No space left on device|File too large)\): free space"


def hashes(folder):
    known = ContentHashes(folder / "hashes", "stage")
    for number in range(200):
        file = folder.parent / "data" / f"{number}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{number}")
        os.utime(file, (1, 1))
        known.of(file)
    return known


def exported(folder):
    with folder_written_whole(folder / "exported") as aside:
        (aside / "labels").write_bytes(NOISE.tobytes())


def picture(folder):
    figure = Figure()
    figure.gca().set_title("Words, whose letters are the larger part of a PDF")
    figure.gca().imshow(NOISE, interpolation="none")
    save(figure, folder / "figure")


def matrices(folder):
    with written_whole(folder / "confusion.npz") as aside:
        np.savez_compressed(aside, confusion=NOISE)


WRITERS = {
    "label file": lambda folder: write_label_file(folder / "c.h5", {i: Layer(NOISE, "f") for i in range(3)}, {}),
    "checkpoint": lambda folder: CheckpointFile(folder, "f").save({"weights": torch.from_numpy(NOISE)}),
    "model": lambda folder: save_model(folder / "m.safetensors", torch.nn.Linear(100, 100), {}, CAMVID),
    "table": lambda folder: write_csv(folder / "t.csv", ["a"], [[i] for i in range(9999)]),
    "text": lambda folder: write_text(folder / "t.md", "a" * 40000),
    "matrices": matrices,
    "picture": picture,
}


def content(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".ballast"}


@pytest.mark.parametrize("room", [0, 8192])
@pytest.mark.parametrize("kind", WRITERS)
def test_what_was_there_stays_on_a_full_disk_and_it_goes_on_after(full_disk, kind, room):
    torch.manual_seed(0)
    WRITERS[kind](full_disk.folder)
    before = content(full_disk.folder)
    full_disk.fill(room)
    with pytest.raises(UserError, match=FULL):
        WRITERS[kind](full_disk.folder)
    full_disk.make_room()
    assert content(full_disk.folder) == before and before
    WRITERS[kind](full_disk.folder)
    assert content(full_disk.folder).keys() == before.keys()


def test_a_pdf_says_so_wherever_within_it_the_disk_fills_up(small_disk):
    picture(small_disk.folder)
    png, pdf = ((small_disk.folder / f"figure.{suffix}").stat().st_size for suffix in ("png", "pdf"))
    for room in range(png + 4096, png + pdf, 4096):
        for path in small_disk.folder.glob("figure.*"):
            path.unlink()
        small_disk.fill(room)
        with pytest.raises(UserError, match=rf"figure.pdf {FULL}"):
            picture(small_disk.folder)
        small_disk.make_room()


def test_no_half_folder_is_left_on_a_full_disk(full_disk):
    full_disk.fill(8192)
    with pytest.raises(UserError, match=FULL):
        exported(full_disk.folder)
    full_disk.make_room()
    assert list(full_disk.folder.glob("*")) == []
    exported(full_disk.folder)


def test_kept_hashes_on_a_full_disk(full_disk):
    known = hashes(full_disk.folder)
    full_disk.fill()
    with pytest.raises(UserError, match=FULL):
        known.save()
    full_disk.make_room()
    known.save()
    assert ContentHashes(full_disk.folder / "hashes", "next")._known == known._known


def test_a_lease_that_found_no_room_leaves_none_behind(full_disk):
    (full_disk.folder / "run").mkdir()
    full_disk.fill()
    with pytest.raises(UserError, match=FULL), lease(full_disk.folder / "run"):
        pass
    full_disk.make_room()
    assert list((full_disk.folder / "run").iterdir()) == []


def test_a_lease_outlives_a_full_disk(full_disk):
    with lease(full_disk.folder / "run", beat=0.01) as held:
        full_disk.fill()
        held.check()
        full_disk.make_room()


def test_a_training_goes_on_without_curves(full_disk, capsys):
    plan = TrainingSettings.parse({"network": {"name": "tmanet"}, "iterations": 100 * WINDOW})
    journal = Journal(plan, CAMVID, "n/e/d")
    journal.open_board(full_disk.folder / "tensorboard")
    full_disk.fill()
    none = torch.zeros(11, 11, dtype=torch.int64)
    for _ in range(plan.iterations):  # more than the last page of a file, and a queue of tensorboardX, holds
        journal.add(1.0, none)
    journal.close()
    full_disk.make_room()
    assert journal.done == plan.iterations
    assert capsys.readouterr().err.count("no more curves for TensorBoard") == 1


@pytest.mark.parametrize("kind", WRITERS)
def test_a_read_only_disk_is_one_sentence_too(small_disk, kind):
    WRITERS[kind](small_disk.folder)
    before = content(small_disk.folder)
    small_disk.forbid()
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\)"):
        WRITERS[kind](small_disk.folder)
    with pytest.raises(UserError, match="no folder that you may write to"):
        _check_writable(small_disk.folder / "results")
    small_disk.allow()
    assert content(small_disk.folder) == before


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_without_the_right_to_write_is_one_sentence_too(tmp_path, monkeypatch, kind):
    folder = tmp_path / "results"
    folder.mkdir(mode=0o555)
    if not os.geteuid():  # to whom modes say nothing

        def refuse(*_, **__):
            raise PermissionError(13, os.strerror(13))

        monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\): free space or mend permissions"):
        WRITERS[kind](folder)
    folder.chmod(0o755)
    assert content(folder) == {}


def test_a_single_read_only_file_gives_way_to_a_new_one(tmp_path):
    path = tmp_path / "table.csv"
    write_csv(path, ["a"], [["old"]])
    path.chmod(0o444)
    write_csv(path, ["a"], [["new"]])
    assert path.read_text() == "a\nnew\n" and path.stat().st_mode & stat.S_IWUSR


def test_a_single_immutable_file_is_named_and_stays(tmp_path):
    path = tmp_path / "table.csv"
    write_csv(path, ["a"], [["old"]])
    if subprocess.run(["chattr", "+i", path], capture_output=True).returncode:
        pytest.skip("no file can be made immutable here: that takes root, and a filesystem that knows it")
    try:
        with pytest.raises(UserError, match=r"table\.csv cannot be written \(Operation not permitted\)"):
            write_csv(path, ["a"], [["new"]])
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    assert content(tmp_path) == {"table.csv": b"a\nold\n"}
