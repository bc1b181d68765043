import os

import pytest

from fewframes.core.errors import UserError
from fewframes.core.files import read_csv, write_csv
from fewframes.datasets.source import LeftOut, gap, names


def test_a_folder_is_listed_in_order_without_what_no_csv_can_hold(tmp_path):
    for name in (b"b.png", b"a.png", b".hidden", b"caf\xe9.png", b"line\rend.png", "ü\n.png".encode()):
        open(os.fsencode(tmp_path) + b"/" + name, "wb").close()
    left_out = LeftOut()
    assert names(tmp_path, left_out) == ["a.png", "b.png", "ü\n.png"]
    assert left_out.rows == [
        ("name that is not UTF-8", f"{tmp_path}/caf\\xe9.png"),
        ("name with a carriage return", f"{tmp_path}/line\\rend.png"),
    ]


def test_what_is_no_folder_lists_nothing_and_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for absent in ("nowhere", "file", "file/below"):
        assert names(tmp_path / absent, LeftOut()) == []
    with pytest.raises(UserError, match=r"loop cannot be read \(.+\): mend the link"):
        names(tmp_path / "loop", LeftOut())


def test_whatever_is_left_out_can_be_written(tmp_path):
    left_out = LeftOut()
    left_out.add("label '\ud800'", os.fsdecode(b"caf\xe9"))
    left_out.add("of two\rlines", "ü")
    write_csv(tmp_path / "left_out.csv", ("reason", "file"), left_out.rows)
    assert [tuple(row.values()) for row in read_csv(tmp_path / "left_out.csv", ("reason", "file"))] == [
        (r"label '\ud800'", r"caf\xe9"),
        (r"of two\rlines", "ü"),
    ]
    assert [line.encode() for line in left_out.lines()]


@pytest.mark.parametrize(
    ("there", "cut"), [({-1, 0, 1}, False), ({-3, -1, 0, 1}, True), ({-1, 0, 1, 3}, True), ({-9, -1, 0, 1, 9}, False)]
)
def test_a_gap_is_one_within_the_offsets_alone(there, cut):
    assert gap(there.__contains__, -1, 1, (-3, 3)) == cut
