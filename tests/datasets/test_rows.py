import pytest

from fewframes.core.errors import UserError
from fewframes.datasets.rows import inside, is_there, option_path, read_rows

COLUMNS = ("clip", "split", "key", "fine")
NEEDED = ("clip", "split", "key")


def rows(folder, text):
    path = folder / "clips.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_rows(path, COLUMNS, NEEDED))


def test_blanks_around_columns_mean_nothing(tmp_path):
    assert rows(tmp_path, "clip, split ,key\na,b,c\n") == [(2, {"clip": "a", "split": "b", "key": "c", "fine": ""})]


def test_rows_have_every_column_and_the_line_they_begin_on(tmp_path):
    text = '\ufeffkey,clip,split\r\n"1\n2",a,"b,c"\r\n\r\n3,d\r\n'
    assert rows(tmp_path, text) == [
        (2, {"clip": "a", "split": "b,c", "key": "1\n2", "fine": ""}),
        (5, {"clip": "d", "split": "", "key": "3", "fine": ""}),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has no column 'clip': it needs clip, split, key"),
        ("clip,split\n", "has no column 'key'"),
        ("clip,split,key,fin,labels\n", r"mean nothing here \('fin', 'labels'\)"),
        ("clip;split;key\n", "sets its columns off by ';': save it with commas"),
        ("clip\tsplit\tkey\n", r"sets its columns off by '\\t'"),
        ("clip,split,key,key\n", "has a column twice"),
        ("clip,split,key\na,train,1,2\n", "line 2: 4 cells under 3 columns"),
        ('clip,split,key\n"a', "cannot be read"),
        ("clip,split,key\n" + "a" * 200_000, "cannot be read"),
        (b"clip,split,key\n\xff,a,b\n", "cannot be read .*save it as UTF-8"),
    ],
)
def test_a_faulty_table_is_named(tmp_path, text, fault):
    with pytest.raises(UserError, match=rf"clips\.csv.* {fault}"):
        rows(tmp_path, text)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"clips\.csv does not exist: write it, or name another"):
        list(read_rows(tmp_path / "clips.csv", COLUMNS, NEEDED))


@pytest.mark.parametrize("path", ["../a", "a/..", "a/../../b", "/a", "//a", "..", "prepared:a", "./prepared:../a"])
def test_a_path_that_leads_away_is_refused(path):
    with pytest.raises(UserError, match=r"leads out of the dataset's folder|begins with 'prepared:'"):
        inside(path)


def test_a_path_that_no_csv_can_hold_is_refused():
    with pytest.raises(UserError, match=r"'a\\rb' holds a carriage return"):
        inside("a\rb")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (3, "give a path within"),
        (None, "give a path"),
        ("", "give a path"),
        (["a"], "give a path"),
        ("../a", "leads out"),
    ],
)
def test_an_option_that_is_no_path_within_the_folder_is_named(value, fault):
    with pytest.raises(UserError, match=rf"^dataset\.options\.clips.*{fault}"):
        option_path("clips", value)
    assert option_path("clips", "./a//b") == "a/b"


@pytest.mark.parametrize(
    ("path", "normal"), [("./a//b/", "a/b"), ("..a/b..", "..a/b.."), (" a\n'{}", " a\n'{}"), ("~/a", "~/a"), ("", ".")]
)
def test_any_other_path_is_brought_to_its_normal_form(path, normal):
    assert inside(path) == normal


def test_what_is_no_file_is_not_there(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "loop/a", "a\0b", "a" * 5000):
        assert not is_there(tmp_path / name)
    assert is_there(tmp_path)
