"""Clocks that differ, ticks that are too coarse, and files that other nodes have written and that show late."""

import os
import threading
import time

import numpy as np
import pytest
from PIL import Image

from fewframes.core import files
from fewframes.core.errors import UserError
from fewframes.core.files import JOB, ContentHashes, content_hash, is_there
from fewframes.core.images import read_image
from fewframes.core.labelfile import Layer, made_layers, read_label_layer, write_label_file

HOUR = 3600.0
COARSE = 2.0
"""The coarsest tick of a filesystem's clock, FAT's, in seconds."""


def write_within_a_tick(path, content):
    path.write_bytes(content)
    tick = time.time() // COARSE * COARSE
    os.utime(path, (tick, tick))


@pytest.mark.parametrize("ahead", [0, 1, 30, -30])
def test_a_file_written_twice_within_a_tick_is_read_twice(tmp_path, monkeypatch, ahead):
    """Whether this node's clock goes right or wrong: size and time are those of the content before."""
    now = time.time_ns()
    write_within_a_tick(tmp_path / "label", b"one")
    hashes = ContentHashes(tmp_path / "hashes", "stage")
    monkeypatch.setattr(files.time, "time_ns", lambda: now + int(ahead * 1e9))
    hashes.of(tmp_path / "label")
    hashes.save()
    before = (tmp_path / "label").stat()
    (tmp_path / "label").write_bytes(b"two")
    os.utime(tmp_path / "label", ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert ContentHashes(tmp_path / "hashes", "next").of(tmp_path / "label") == content_hash(tmp_path / "label")


@pytest.mark.parametrize("when", [-HOUR, HOUR])
def test_files_of_another_clock_are_hashed_once(tmp_path, monkeypatch, when):
    path = tmp_path / "frame"
    path.write_bytes(b"frame")
    os.utime(path, (time.time() + when,) * 2)
    hashes = ContentHashes(tmp_path / "hashes", "stage")
    known = hashes.of(path)
    hashes.save()
    monkeypatch.setattr(files, "content_hash", lambda _: pytest.fail("it is read again"))
    assert ContentHashes(tmp_path / "hashes", "next").of(path) == known


@pytest.fixture
def late(tmp_path, monkeypatch):
    """Files below a folder show when a job of the cluster has waited for its third look; the waits are noted."""
    waits = []
    hidden = tmp_path / "hidden"
    hidden.mkdir()

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            for path in hidden.iterdir():
                path.replace(tmp_path / path.name)

    monkeypatch.setenv(JOB, "7")
    monkeypatch.setattr(files, "_in_vain", False)
    monkeypatch.setattr(files.time, "sleep", sleep)
    return hidden, waits


LABEL = np.full((4, 5), 3, np.uint8)


def test_what_shows_late_is_waited_for_in_a_job_of_a_cluster(tmp_path, late):
    hidden, waits = late
    write_label_file(hidden / "c.h5", {1: Layer(LABEL, "f")}, {})
    assert (read_label_layer(tmp_path / "c.h5", 1) == LABEL).all()
    assert len(waits) == 3
    waits.clear()
    Image.fromarray(np.dstack([LABEL] * 3)).save(hidden / "drawn.png")
    assert read_image(tmp_path / "drawn.png").shape == (4, 5, 3)
    waits.clear()
    (hidden / "drawn.txt").write_text("x")
    assert ContentHashes(tmp_path / "hashes", "s").of(tmp_path / "drawn.txt")
    waits.clear()
    write_label_file(hidden / "d.h5", {1: Layer(LABEL, "f")}, {})
    assert made_layers(tmp_path / "d.h5", [1])[1][0] == "f"


def test_what_never_shows_is_named_after_a_minute(tmp_path, late):
    _, waits = late
    with pytest.raises(UserError, match=r"c\.h5 is missing or damaged"):
        read_label_layer(tmp_path / "c.h5", 1)
    assert sum(waits) == 60
    # What a preparation gathers next has had its minute too.
    hashes = ContentHashes(tmp_path / "hashes", "s")
    for name in ("d", "e"):
        with pytest.raises(UserError, match="does not exist"):
            hashes.of(tmp_path / name)
    assert sum(waits) == 60


def test_elsewhere_nobody_waits(tmp_path, monkeypatch):
    monkeypatch.delenv(JOB, raising=False)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: seconds and pytest.fail("it waits"))
    assert not is_there(tmp_path / "gone")
    assert not is_there(tmp_path)


def test_a_file_that_is_just_being_renamed_into_place_is_seen(tmp_path, monkeypatch):
    monkeypatch.setenv(JOB, "7")
    (tmp_path / ".x").touch()
    threading.Timer(0.2, lambda: (tmp_path / ".x").replace(tmp_path / "x")).start()
    assert is_there(tmp_path / "x")
