import csv
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.core import files
from fewframes.core.clips import scan, stamp
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, canonical_json, digest, read_csv, read_yaml, write_csv, written_whole

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), VALUES))
def test_equal_settings_have_one_spelling(settings):
    assert canonical_json(dict(reversed(settings.items()))) == canonical_json(settings)


def test_whole_floats_are_spelt_as_integers():
    assert canonical_json({"lr": 1.0}) == canonical_json({"lr": 1}) != canonical_json({"lr": 1.5})


def test_digest_keeps_parts_apart():
    assert digest("a", "b") != digest("ab") != digest(["a", "b"])


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_whole(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/x\.csv cannot be written"):
        write_csv(tmp_path / "file" / "x.csv", ["a"], [])


def test_a_full_disk_is_named(tmp_path):
    # /dev/full is the kernel's own full disk.
    with pytest.raises(UserError, match="No space left"), written_whole(tmp_path / "x"), open("/dev/full", "w") as full:
        full.write("x")


def test_a_missing_column_is_named(tmp_path):
    path = tmp_path / "x.csv"
    write_csv(path, ["a"], [[1]])
    assert read_csv(path, ["a"]) == [{"a": "1"}]
    with pytest.raises(UserError, match="no column 'b'"):
        read_csv(path, ["a", "b"])


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "x.csv").touch()
    with pytest.raises(UserError, match=r"x\.csv has no column 'a'"):
        read_csv(tmp_path / "x.csv", ["a"])


def make_file(path, content, age=100):
    path.write_bytes(content)
    settled = time.time() - age
    os.utime(path, (settled, settled))
    return path


def test_hashes_are_of_content_and_kept(tmp_path, monkeypatch):
    one, two = make_file(tmp_path / "1", b"same"), make_file(tmp_path / "2", b"same", age=200)
    hashes = ContentHashes(tmp_path / "cache", "first")
    assert hashes.of(one) == hashes.of(two) == files.content_hash(one)
    hashes.save()
    read = []
    monkeypatch.setattr(files, "content_hash", lambda path: read.append(path) or "read again")
    again = ContentHashes(tmp_path / "cache", "second")
    assert again.of(one) == hashes.of(one)
    assert read == []
    make_file(one, b"else", age=90)
    assert again.of(one) == "read again"


def test_what_another_process_is_writing_is_not_read(tmp_path):
    (tmp_path / ".plan.csv.ab12.csv").write_text("path,size,ti")
    assert ContentHashes(tmp_path, "mine").of(make_file(tmp_path / "1", b"x"))


def test_a_file_that_just_changed_is_not_kept(tmp_path, monkeypatch):
    path = make_file(tmp_path / "1", b"new", age=0)
    hashes = ContentHashes(tmp_path / "cache", "first")
    hashes.of(path)
    hashes.save()
    monkeypatch.setattr(files, "content_hash", lambda _: "read again")
    assert ContentHashes(tmp_path / "cache", "first").of(path) == "read again"


def test_a_hash_of_nothing_names_the_file(tmp_path):
    with pytest.raises(UserError, match="gone does not exist"):
        ContentHashes(tmp_path, "x").of(tmp_path / "gone")


@pytest.mark.parametrize(("name", "said"), [("typo", "typo does not exist"), (".", r"cannot be read \(Is a directory")])
def test_a_file_that_is_not_there_is_told_from_one_that_cannot_be_read(tmp_path, name, said):
    with pytest.raises(UserError, match=said):
        files.content_hash(tmp_path / name)


def test_a_link_that_leads_to_another_file_is_another_content(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (1, 1))
    link = tmp_path / "link"
    link.symlink_to("a")
    hashes = ContentHashes(tmp_path / "hashes", "t")
    first, stamped, scanned = hashes.of(link), stamp(tmp_path, ["link"]), scan(tmp_path)
    link.unlink()
    link.symlink_to("b")
    assert hashes.of(link) == hashes.of(tmp_path / "b") != first
    assert stamp(tmp_path, ["link"]) != stamped and scan(tmp_path) != scanned


def test_a_carriage_return_is_refused_since_it_could_not_be_read_back(tmp_path):
    with pytest.raises(UserError, match="carriage return"):
        write_csv(tmp_path / "a.csv", ["name"], [["odd\rname"]])
    assert not (tmp_path / "a.csv").exists()


def test_rows_are_read_as_the_standard_library_reads_them(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n1,"two\nlines"\n\n3\n"x,y",""\n')
    with path.open(newline="") as file:
        assert read_csv(path, ("a",)) == list(csv.DictReader(file))
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="no column 'a'"):
        read_csv(tmp_path / "empty.csv", ("a",))


def test_yaml_is_read_as_it_is(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("{name: Zürich, numbers: [1, 2.5, null]}", encoding="utf-8")
    assert read_yaml(file) == {"name": "Zürich", "numbers": [1, 2.5, None]}


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"key: [1", b"a: !!python/object:os.system {}"])
def test_what_is_no_yaml_is_one_sentence(tmp_path, content):
    file = tmp_path / "settings.yaml"
    if content is not None:
        file.write_bytes(content)
    sentence = r"^\S+settings.yaml is no readable YAML \([^\n]+\): correct it, or name another\.$"
    with pytest.raises(UserError, match=sentence):
        read_yaml(file)
