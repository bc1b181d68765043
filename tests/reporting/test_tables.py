import csv
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.experiments.schemes import Experiment, load_catalogue
from fewframes.reporting.statistics import Grid
from fewframes.reporting.tables import Table, latex, markdown, read_definition, write_table

EXPERIMENTS = Path(__file__).parents[2] / "workflow" / "experiments"
CITYSCAPES = load_class_table("cityscapes")
CATALOGUE = {
    "n1": Experiment("n1", "N1"),
    "b3": Experiment("b3", "B3_&|x", offsets=(-2, 0, 2)),
    "b2n": Experiment("b2n", "B2n", offsets=(-2, 2)),
    "c": Experiment("c", "50 %", coarse_percent=50),
    "cr": Experiment("cr", "50 % refined", coarse_percent=50, labels="refined"),
}
MIXTURES = """
title: "Table 1: mixtures"
kind: mixtures
networks: {tmanet: TMANet}
frames: [-2, 2]
rows:
  - {network: tmanet, experiment: n1}
  - {network: tmanet, experiment: b3}
  - {network: other_net, experiment: b2n}
"""
COARSE = """
title: "Table 3: coarse"
kind: coarse
rows:
  - {network: tmanet, unrefined: n1, refined: n1}
  - {network: tmanet, unrefined: c, refined: cr}
"""


def grid_of(results, draws, seeds):
    experiments = [id_ for id_ in CATALOGUE if id_ != "all-b11"]
    return Grid(results, ("tmanet", "tdnet"), dict.fromkeys(experiments, draws), seeds)


def write_run(results: Path, network: str, experiment: str, run: str, miou: float, macc: float) -> None:
    path = results / "runs" / network / experiment / run / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(f"class,iou,accuracy,pixels\nroad,90,95,10\nmean,{miou},{macc},10\n")


def write_manifest(results: Path, experiment: str, samples: list[tuple[str, int, str]], draw: int = 0) -> None:
    path = results / "manifests" / experiment / f"draw{draw}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("clip", "offset", "source"), *samples])


@pytest.fixture
def results(tmp_path):
    """N1 run in both draws, B3 once, the refined half once; everything else is a gap."""
    folder = tmp_path / "toy"
    for draw in (0, 1):
        write_manifest(folder, "n1", [(clip, 0, "fine") for clip in "abc"], draw)
        write_manifest(folder, "b3", [("a", o, "pseudo:flow" if o else "fine") for o in (-2, 0, 2)], draw)
        write_manifest(folder, "cr", [("a", 0, "fine"), ("b", 0, "refined:none")], draw)
    write_run(folder, "tmanet", "n1", "draw0-seed0", 50, 60)
    write_run(folder, "tmanet", "n1", "draw1-seed0", 53, 64)
    write_run(folder, "tmanet", "b3", "draw1-seed0", 48.123, 58.456)
    write_run(folder, "tmanet", "cr", "draw0-seed0", 40, 45)
    return folder


def written(definition: str, results: Path, note: str = "") -> tuple[list[dict[str, str]], str, str]:
    path, out = results.parent / "definition.yaml", results / "tables" / "t"
    path.write_text(definition)
    grid = grid_of(results, (0, 1), (0,))
    write_table(path, CATALOGUE, grid, CITYSCAPES, out, dataset="toy_city", note=note)
    with Path(f"{out}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, Path(f"{out}.md").read_text(), Path(f"{out}.tex").read_text()


def test_table_1_by_hand(results):
    (n1, b3, b2n), *_ = written(MIXTURES, results)
    assert (n1["network"], n1["id"], n1["frames"], n1["offsets"]) == ("TMANet", "N1", "□□◆□□", "0")
    # Two draws of one seed: 50 and 53 differ by 3, so the deviation is 3 / sqrt 2.
    assert (n1["mIoU_mean"], n1["mIoU_sd"], n1["mIoU_sd_draws"], n1["mIoU_sd_seeds"]) == ("51.50", "2.12", "2.12", "")
    assert (n1["mAcc_mean"], n1["mAcc_sd"], n1["n"], n1["draws"], n1["seeds"]) == ("62.00", "2.83", "2", "2", "1")
    assert (n1["key_frames"], n1["annotation_hours"], n1["manual_percent"]) == ("3", "4.50", "100.00")
    assert (b3["frames"], b3["mIoU_mean"], b3["mIoU_sd"], b3["n"]) == ("■□◆□■", "48.12", "", "1")
    assert (b3["key_frames"], b3["annotation_hours"], b3["manual_percent"]) == ("1", "1.50", "33.33")
    assert b3["total_samples"] == "3"
    assert (b2n["network"], b2n["frames"], b2n["n"]) == ("other_net", "■□□□■", "0")
    assert b2n["mIoU_mean"] == b2n["key_frames"] == b2n["annotation_hours"] == ""


def test_table_1_as_markdown(results):
    _, text, _ = written(MIXTURES, results, note="Toy numbers: no claim.")
    lines = [re.split(r"\s*(?<!\\)\|\s*", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    assert lines[2] == ["TMANet", "N1", "□□◆□□", "51.50 ± 2.12 (2)", "62.00 ± 2.83", "3", "4.50", "100.00", "3"]
    assert lines[3] == ["TMANet", r"B3\_&\|x", "■□◆□■", "48.12 (1)", "58.46", "1", "1.50", "33.33", "3"]
    assert lines[4] == ["other\\_net", "B2n", "■□□□■", "—", "—", "—", "—", "—", "—"]
    assert "toy\\_city" in text and text.endswith("Toy numbers: no claim.\n")
    assert "◆ annotated frame" in text and "90 minutes (fine), 7 minutes (coarse)" in text


def assert_sound_latex(text: str) -> None:
    """Braces and environments balance, every row has the columns declared, nothing special stands bare."""
    bare = re.sub(r"\\[\\{}%&_#$]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    open_environments = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert not open_environments
    body = text[text.index(r"\begin{tabular}") : text.index(r"\end{tabular}")]
    columns = len(re.match(r"\\begin\{tabular\}\{([lr]+)\}", body)[1])
    for line in filter(lambda line: line.endswith(r" \\"), body.splitlines()):
        spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans) == columns
    assert not re.search(r"[□■◆±—…]", text)


def test_table_1_as_latex(results):
    _, _, text = written(MIXTURES, results, note="100 % toy")
    assert_sound_latex(text)
    assert r"TMANet & B3\_\&|x & \pseudoframe\unusedframe\manualframe\unusedframe\pseudoframe & 48.12 (1)" in text
    assert r"51.50 $\pm$ 2.12 (2)" in text and r"(toy\_city)" in text and r"100 \% toy" in text
    assert text.count(r"\midrule") == 2  # below the heading, and between the networks


def test_table_3_by_hand(results):
    (zero, half), text, tex = written(COARSE, results)
    assert (zero["coarse_percent"], half["coarse_percent"]) == ("0", "50")
    assert zero["unrefined_mIoU_mean"] == zero["refined_mIoU_mean"] == "51.50"
    assert (half["unrefined_mIoU_mean"], half["unrefined_n"]) == ("", "0")
    assert (half["refined_mIoU_mean"], half["refined_mAcc_mean"], half["refined_n"]) == ("40.00", "45.00", "1")
    # Only the refined arm has its manifest: the samples of the other are the same.
    assert (half["fine_frames"], half["coarse_frames"], half["annotation_hours"]) == ("1", "1", "1.62")
    assert re.search(r"\| 50 \| +— \| +— \| +40.00 \(1\) \| +45.00 \| +1 \| +1 \| +1.62 \|", re.sub(" +", " ", text))
    assert_sound_latex(tex)
    assert r"\multicolumn{2}{c}{Non-refined}" in tex and r"\cmidrule(lr){3-4}" in tex


def test_the_frames_widen_to_what_is_used(results):
    rows, *_ = written(MIXTURES.replace("[-2, 2]", "[0, 1]"), results)
    assert [row["frames"] for row in rows] == ["□□◆□□", "■□◆□■", "■□□□■"]


def test_nothing_run_prints_whole(tmp_path):
    rows, text, tex = written(MIXTURES, tmp_path / "nothing")
    assert [row["n"] for row in rows] == ["0", "0", "0"]
    assert text.count("—") == 3 * 6 + 1
    assert_sound_latex(tex)


@given(st.text(alphabet=[chr(i) for i in range(32, 127)] + list("\n±—□é"), max_size=30))
def test_names_from_data_break_neither_format(name):
    table = Table(name, name, (["a"], [["1"]]), [("", "ID"), ("", "mIoU")], [[name, "1"]])
    assert_sound_latex(latex(table, name))
    assert len(re.findall(r"(?<!\\)\|", markdown(table).splitlines()[4])) == 3


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("title: t\nkind: pie\nrows: []", "is not a table definition"),
        ("title: t\nkind: mixtures", "is not a table definition"),
        ("[]", "is not a table definition"),
        (MIXTURES.replace("experiment: n1", "experment: n1"), "must have the keys experiment, network"),
        (MIXTURES.replace("experiment: n1", "experiment: n9"), "'n9', which the catalogue lacks"),
        (COARSE.replace("refined: cr", "refined: n1"), "'c' beside 'n1', whose coarse share differs"),
    ],
)
def test_faults_of_a_definition_are_named(results, definition, message):
    with pytest.raises(UserError, match=message):
        written(definition, results)


def paper(name: str) -> list[dict[str, str]]:
    with (EXPERIMENTS / "paper" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_1_has_the_papers_rows_shares_and_totals(tmp_path):
    catalogue = load_catalogue(EXPERIMENTS / "catalogue.yaml")
    reference = paper("table1.csv")
    for row in reference[:15]:
        offsets = [int(o) for o in row["frame_offsets"].split()]
        clips = -(-2975 // len(offsets))
        samples = [(f"clip{i}", o, "pseudo:sam2" if o else "fine") for i in range(clips) for o in offsets]
        write_manifest(tmp_path, row["scheme"].lower(), samples)
    out = tmp_path / "table1"
    schemes = [row["scheme"].lower() for row in reference]
    grid = Grid(tmp_path, ("tmanet", "tdnet"), dict.fromkeys(schemes, (0,)), (0,))
    write_table(EXPERIMENTS / "table1.yaml", catalogue, grid, CITYSCAPES, out, dataset="cityscapes")
    with Path(f"{out}.csv").open(newline="") as file:
        ours = list(csv.DictReader(file))
    assert len(ours) == len(reference) == 18
    for mine, theirs in zip(ours, reference, strict=True):
        assert (mine["network"].lower(), mine["id"]) == (theirs["model"], theirs["scheme"])
        assert mine["offsets"] == theirs["frame_offsets"]
        assert mine["manual_percent"] == theirs["manual_percent"]
        assert mine["total_samples"] == theirs["total_samples"]
    assert [ours[5]["id"], ours[5]["manual_percent"], ours[5]["key_frames"]] == ["B2n", "0.00", "1488"]


def test_table_3_has_the_papers_rows():
    catalogue = load_catalogue(EXPERIMENTS / "catalogue.yaml")
    rows = read_definition(EXPERIMENTS / "table3.yaml").rows
    shares = [catalogue[row["unrefined"]].coarse_percent for row in rows]
    assert shares == [int(row["coarse_percent"]) for row in paper("table3.csv")]
    for row in rows[1:]:
        assert (catalogue[row["unrefined"]].labels, catalogue[row["refined"]].labels) == ("raw", "refined")


def test_a_network_that_is_not_trained_is_a_gap_though_its_manifest_is_there(tmp_path):
    write_manifest(tmp_path, "n1", [("clip", 0, "fine")])
    grid = Grid(tmp_path, ("tmanet",), {"n1": (0,)}, (0,))
    catalogue = load_catalogue(EXPERIMENTS / "catalogue.yaml")
    write_table(EXPERIMENTS / "table1.yaml", catalogue, grid, CITYSCAPES, tmp_path / "t", dataset="d")
    rows = [line.split("|")[1:-1] for line in (tmp_path / "t.md").read_text().splitlines() if "| N1 " in line]
    hours = {cells[0].strip(): cells[6].strip() for cells in rows}
    assert hours == {"TMANet": "1.50", "TDNet": "—"}
