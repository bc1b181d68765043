import os
from pathlib import Path

import pytest

from fewframes.core.files import ContentHashes
from fewframes.keeping.contents import AS_KNOWN, EDITED, MISSING, ROTTED, UNKNOWN, Contents

OLD = 1_600_000_000


def write(path: Path, content: bytes, when: int = OLD) -> Path:
    path.write_bytes(content)
    os.utime(path, (when, when))
    return path


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A file whose hash is kept in `hashes`."""
    file = write(tmp_path / "frame.png", b"as it was")
    hashes = ContentHashes(tmp_path / "hashes", "plan")
    hashes.of(file)
    hashes.save()
    return file


def became(file: Path) -> str:
    contents = Contents(file.parent / "hashes", workers=2)
    contents.read([file], "files")
    return contents.became(file)


def test_a_file_that_nobody_touched_is_as_known(known: Path) -> None:
    assert became(known) == AS_KNOWN


def test_another_content_at_the_same_size_and_time_is_rot(known: Path) -> None:
    write(known, b"as it Was")
    assert became(known) == ROTTED


def test_another_content_at_another_time_was_written_by_somebody(known: Path) -> None:
    write(known, b"as it Was", OLD + 10)
    assert became(known) == EDITED


def test_a_touched_or_copied_file_is_as_known(known: Path) -> None:
    write(known, b"as it was", OLD + 10)
    assert became(known) == AS_KNOWN


def test_a_file_that_is_gone_is_missing_and_one_never_read_is_unknown(known: Path) -> None:
    known.unlink()
    assert became(known) == MISSING
    assert became(write(known.with_name("other.png"), b"")) == UNKNOWN


def test_a_link_is_known_by_what_it_leads_to(known: Path) -> None:
    link = known.with_name("link.png")
    link.symlink_to(known)
    assert became(link) == AS_KNOWN
    write(known, b"as it Was")
    assert became(link) == ROTTED
