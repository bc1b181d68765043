import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scored import write_confusion

from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.experiments.schemes import Experiment, experiment_from, load_catalogue
from fewframes.reporting.definitions import read_definition
from fewframes.reporting.printing import Column, Table, html, latex, markdown, signed
from fewframes.reporting.statistics import Grid
from fewframes.reporting.tables import write_table

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
CLASSES = """
title: "Table 5: by class"
kind: classes
classes: refined
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
    write_confusion(path.parent, ["a"], np.ones((1, 2, 2), np.int64))


def write_manifest(results: Path, experiment: str, samples: list[tuple[str, int, str]], draw: int = 0) -> None:
    path = results / "manifests" / experiment / f"draw{draw}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("clip", "offset", "source"), *samples])


@pytest.fixture
def results(tmp_path):
    """N1 run in both draws, B3 once, the refined half once; everything else is a gap."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "index.csv").write_text("clip,group\na,a\n")
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
    assert not re.search("[□■◆±—…\u2212]", text)


def test_table_1_as_latex(results):
    _, _, text = written(MIXTURES, results, note="100 % toy")
    assert_sound_latex(text)
    assert r"TMANet & B3\_\&|x & \pseudoframe\unusedframe\manualframe\unusedframe\pseudoframe & 48.12 (1)" in text
    assert r"51.50 $\pm$ 2.12 (2)" in text and r"(toy\_city)" in text and r"100 \% toy" in text
    assert text.count(r"\midrule") == 2  # below the heading, and between the networks


def test_table_3_by_hand(results):
    (zero, half), text, tex = written(COARSE, results)
    assert (zero["id"], half["id"]) == ("N1", "50 %")
    assert (zero["coarse_percent"], half["coarse_percent"]) == ("0", "50")
    assert zero["unrefined_mIoU_mean"] == zero["refined_mIoU_mean"] == "51.50"
    assert (half["unrefined_mIoU_mean"], half["unrefined_n"]) == ("", "0")
    assert (half["refined_mIoU_mean"], half["refined_mAcc_mean"], half["refined_n"]) == ("40.00", "45.00", "1")
    # Only the refined arm has its manifest: the samples of the other are the same.
    assert (half["fine_frames"], half["coarse_frames"], half["annotation_hours"]) == ("1", "1", "1.62")
    assert re.search(
        r"\| 50 \| +— \| +— \| +40.00 \(1\) \| +45.00 \| — \| +1 \| +1 \| +1.62 \|", re.sub(" +", " ", text)
    )
    assert_sound_latex(tex)
    assert r"\multicolumn{2}{c}{Non-refined}" in tex and r"\cmidrule(lr){4-5}" in tex


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
    columns = [Column("ID", words=True), Column(name, group=name)]
    table = Table(name, name, (["a"], [["1"]]), columns, [[name, "1"]])
    assert_sound_latex(latex(table, name))
    assert len(re.findall(r"(?<!\\)\|", markdown(table).splitlines()[4])) == 3
    assert len(re.findall("<t[dh][ >]", html(table))) == 4


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("title: t\nkind: pie\nrows: []", "is not a table definition"),
        ("title: t\nkind: mixtures", "is not a table definition"),
        ("title: t\nkind: mixtures\nrows: []", "no rows"),
        (MIXTURES + "baseline: n9", "'n9', which the catalogue lacks"),
        (MIXTURES + "paper: {values: t.csv}", "'paper' must have the keys classes"),
        ("[]", "is not a table definition"),
        (CLASSES.replace("classes: refined", "classes: some"), "classes must be all or refined"),
        (CLASSES.replace("refined: cr}", "refined: cr, control: n1}"), "must have the keys network, refined"),
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


@pytest.mark.parametrize(("table", "method"), [(3, ""), (4, ""), (5, ""), (6, ""), (7, "automask")])
def test_tables_of_coarse_labels_have_the_papers_shares(table, method):
    catalogue = load_catalogue(EXPERIMENTS / "catalogue.yaml")
    rows, reference = read_definition(EXPERIMENTS / f"table{table}.yaml").rows, paper(f"table{table}.csv")
    shares = [str(catalogue[row["unrefined"]].coarse_percent) for row in rows]
    if table in (5, 6):
        assert list(reference[0])[1:] == ["0", *(f"{s}_{arm}" for s in shares[1:] for arm in ("unrefined", "refined"))]
    else:
        assert shares == [row["coarse_percent"] for row in reference]
    for row in rows[1:]:
        unrefined, refined = catalogue[row["unrefined"]], catalogue[row["refined"]]
        assert (unrefined.labels, refined.labels, refined.refinement) == ("raw", "refined", method)
        assert unrefined.coarse_pool == refined.coarse_pool == "train"


def test_tables_by_class_have_the_papers_classes():
    classes = {table: [row["class"] for row in paper(f"table{table}.csv")] for table in (5, 6)}
    assert classes == {5: list(CITYSCAPES.names), 6: list(CITYSCAPES.refined)}


def test_table_2_has_the_papers_schemes():
    catalogue = load_catalogue(EXPERIMENTS / "catalogue.yaml")
    rows = read_definition(EXPERIMENTS / "table2.yaml").rows
    assert [catalogue[row["experiment"]].name for row in rows] == [row["scheme"] for row in paper("table2.csv")]


def test_every_named_control_is_in_the_catalogue_and_of_its_row():
    catalogue = load_catalogue(EXPERIMENTS / "catalogue.yaml")
    for table in range(1, 8):
        for row in read_definition(EXPERIMENTS / f"table{table}.yaml").rows:
            mixture = catalogue[row.get("experiment") or row["unrefined"]]
            for key, kind in (("control", "fine"), ("hours", "hours")):
                if key in row:
                    control = catalogue[row[key]]
                    assert (control.control, control.mixture.coarse_percent) == (kind, mixture.coarse_percent)
                    assert control.mixture.clip_count(2975) == mixture.clip_count(2975)


def test_a_network_that_is_not_trained_is_a_gap_though_its_manifest_is_there(tmp_path):
    write_manifest(tmp_path, "n1", [("clip", 0, "fine")])
    grid = Grid(tmp_path, ("tmanet",), {"n1": (0,)}, (0,))
    catalogue = load_catalogue(EXPERIMENTS / "catalogue.yaml")
    write_table(EXPERIMENTS / "table1.yaml", catalogue, grid, CITYSCAPES, tmp_path / "t", dataset="d")
    rows = [line.split("|")[1:-1] for line in (tmp_path / "t.md").read_text().splitlines() if "| N1 " in line]
    hours = {cells[0].strip(): cells[7].strip() for cells in rows}
    assert hours == {"TMANet": "1.50", "TDNet": "—"}


@pytest.mark.parametrize(("value", "said"), [(0.004, "0.00"), (-0.004, "0.00"), (1, "+1.00"), (-2.345, "\u22122.35")])
def test_differences_are_printed_with_their_sign(value, said):
    assert signed(value) == said


def with_runs(results: Path, **hits: list[int]) -> None:
    """Runs of seeds 0, 1, ... of these experiments, each with so many hits of 100 in every one of nine images."""
    images = [f"{city}_{i:06d}_000019" for city in "pqr" for i in range(3)]
    groups = [f"{image},{image.rsplit('_', 1)[0]}" for image in images]
    (results / "index.csv").write_text("\n".join(["clip,group", *groups]))
    write_evaluation(results, images)
    for experiment, of_seeds in hits.items():
        for seed, hit in enumerate(of_seeds):
            each = np.array([[hit + i % 3, 100 - hit - i % 3] for i in range(9)])
            confusion = np.stack([each, each[:, ::-1]], axis=1)
            total = confusion.sum(axis=0)
            miou = 100 * total[0, 0] / (total.sum() - total[1, 1])
            write_run(results, "tmanet", experiment, f"draw0-seed{seed}", miou, miou)
            folder = results / "runs" / "tmanet" / experiment / f"draw0-seed{seed}"
            write_confusion(folder, images, confusion)
            settings = {
                "iterations": 40000,
                "crop": [9, 9],
                "network": {"name": "tmanet", "pretrained": "w", "past": 1},
            }
            (folder / "training.json").write_text(json.dumps({"settings": settings}))


def write_evaluation(results: Path, images: list[str]) -> None:
    (results / "manifests").mkdir(parents=True, exist_ok=True)
    (results / "manifests" / "evaluation.csv").write_text("\n".join(["clip", *images]))


def compared(definition: str, results: Path) -> tuple[list[dict[str, str]], str, str]:
    path, out = results / "definition.yaml", results / "tables" / "t"
    path.write_text(definition)
    grid = Grid(results, ("tmanet",), dict.fromkeys(CATALOGUE, (0,)), (0, 1, 2))
    write_table(path, CATALOGUE, grid, CITYSCAPES, out, dataset="d")
    with Path(f"{out}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, Path(f"{out}.md").read_text(), Path(f"{out}.tex").read_text()


def test_rows_are_compared_with_the_baseline(tmp_path):
    with_runs(tmp_path, n1=[90, 91, 92], b3=[70, 71, 73], b2n=[90, 91])
    rows, text, tex = compared(MIXTURES.replace("other_net", "tmanet") + "baseline: n1", tmp_path)
    n1, b3, b2n = rows
    assert [n1[f"baseline_{c}"] for c in ("difference", "low", "high", "verdict")] == [""] * 4
    difference = float(b3["mIoU_mean"]) - float(n1["mIoU_mean"])
    assert float(b3["baseline_difference"]) == pytest.approx(difference, abs=0.011)
    assert float(b3["baseline_low"]) < difference < float(b3["baseline_high"]) < 0
    assert (b3["baseline_verdict"], b2n["baseline_verdict"], b2n["baseline_low"]) == ("worse", "not established", "")
    minus = "\u2212"
    low, high = (minus + b3[f"baseline_{end}"][1:] for end in ("low", "high"))
    line = f"{minus}{b3['baseline_difference'][1:]} ({low} to {high}), worse"
    assert f"| {line} " in text and "Against N1" in text and line.replace(minus, "$-$") in tex
    assert_sound_latex(tex)


def test_a_control_has_a_column_of_its_own(tmp_path):
    with_runs(tmp_path, n1=[90, 91, 92], b3=[70, 71, 73], b2n=[60, 61, 62])
    definition = MIXTURES.replace("experiment: b3}", "experiment: b3, control: b2n}") + "baseline: n1"
    rows, text, tex = compared(definition, tmp_path)
    assert [row["control_verdict"] for row in rows] == ["", "better", ""]
    assert "Against its control" in text
    assert_sound_latex(tex)


def test_no_column_for_controls_that_nobody_asked_for(results):
    definition = MIXTURES.replace("experiment: b3}", "experiment: b3, control: unknown}")
    rows, text, _ = written(definition, results)
    assert "control_verdict" not in rows[0] and "control" not in text


def test_both_arms_of_table_3_are_compared_with_both_controls(tmp_path):
    with_runs(tmp_path, n1=[90, 91, 92], c=[60, 61, 62], cr=[70, 71, 72], b3=[80, 81, 82], b2n=[50, 51, 52])
    definition = COARSE.replace("refined: cr}", "refined: cr, control: b3, hours: b2n}")
    (_, half), text, tex = compared(definition, tmp_path)
    verdicts = [half[f"{arm}_{key}_verdict"] for arm in ("unrefined", "refined") for key in ("control", "hours")]
    assert verdicts == ["worse", "better"] * 2
    assert "Refined against fine labels of its hours" in text
    assert_sound_latex(tex)


OTHERS = {
    "e": {"name": "50 % extra", "coarse_percent": 50, "coarse_pool": "train_extra"},
    "er": {"name": "50 % extra refined", "coarse_percent": 50, "coarse_pool": "train_extra", "labels": "refined"},
    "ca": {"name": "50 % automask", "coarse_percent": 50, "labels": "refined", "refinement": "automask"},
    "all": {"name": "all", "coarse_percent": 100, "fine": "all"},
    "part": {"name": "part", "coarse_percent": 50, "control": "fine"},
}


def test_other_mixtures_of_coarse_labels_stand_below_by_their_names(results):
    catalogue = CATALOGUE | {id_: experiment_from(id_, recipe) for id_, recipe in OTHERS.items()}
    path, out = results / "definition.yaml", results / "t"
    path.write_text(COARSE + "others: true")
    write_manifest(results, "all", [("a", 0, "fine"), ("b", 0, "fine"), ("a", 0, "coarse")])
    for experiment, miou in (("e", 40), ("er", 41), ("ca", 42), ("all", 43), ("c", 44)):
        write_run(results, "tmanet", experiment, "draw0-seed0", miou, miou)
    grid = Grid(results, ("tmanet",), dict.fromkeys(catalogue, (0,)), (0,))
    write_table(path, catalogue, grid, CITYSCAPES, out, dataset="d")
    with Path(f"{out}.csv").open(newline="") as file:
        rows = [
            (r["id"], r["coarse_percent"], r["unrefined_mIoU_mean"], r["refined_mIoU_mean"])
            for r in csv.DictReader(file)
        ]
    assert rows[2:] == [
        ("50 % extra", "50", "40.00", "41.00"),
        # The same samples as a row above, refined by another method.
        ("50 % automask", "50", "44.00", "42.00"),
        # One of three samples; there is no refined one.
        ("all", "33.33", "43.00", ""),
    ]


def with_class_runs(results: Path, **hits: list[int]) -> None:
    """As `with_runs`, of which pole is one of two classes that nobody else sees."""
    with_runs(results, **hits)
    names = CITYSCAPES.names
    for folder in results.glob("runs/tmanet/*/*"):
        with np.load(folder / "confusion.npz") as file:
            small, images = file["confusion"], file["clips"].tolist()
        confusion = np.zeros((len(small), len(names), len(names)), np.int64)
        places = [names.index("road"), names.index("pole")]
        confusion[np.ix_(range(len(small)), places, places)] = small
        write_confusion(folder, images, confusion)
        total = small.sum(axis=0)
        iou = [100 * total[i, i] / (total[i].sum() + total[:, i].sum() - total[i, i]) for i in range(2)]
        rows = [f"{name},{dict(zip(('road', 'pole'), iou, strict=True)).get(name, '')},,1" for name in names]
        rows = [row.replace(",,1", ",50,1") if row.count(",,") == 1 else row for row in rows]
        (folder / "metrics.csv").write_text(
            "\n".join(["class,iou,accuracy,pixels", *rows, f"mean,{np.mean(iou)},50,1"])
        )


def test_classes_by_hand(tmp_path):
    with_class_runs(tmp_path, n1=[90, 91, 92], c=[60, 61, 62], cr=[70, 71, 72])
    rows, text, tex = compared(CLASSES, tmp_path)
    assert [row["class"] for row in rows] == list(CITYSCAPES.refined)
    pole, light = rows[:2]
    # Seeds have 90 to 92 hits of 100, images up to two more: 92 on average, and 8 missed either way.
    assert float(pole["0_mean"]) == pytest.approx(100 * 92 / 108, abs=0.05)
    assert float(pole["50_unrefined_mean"]) == pytest.approx(100 * 62 / 138, abs=0.05)
    assert (pole["50_refined_n"], pole["50_refinement_verdict"]) == ("3", "better")
    assert float(pole["50_refinement_difference"]) == pytest.approx(100 * (72 / 128 - 62 / 138), abs=0.05)
    # A class that nobody saw.
    assert (light["0_n"], light["0_mean"], light["50_refinement_verdict"]) == ("0", "", "")
    assert re.search(r"\| pole +\| +85.\d\d ± \d.\d\d \(3\) \| .* ▲ \|", text) and "0 % coarse N1" in text
    assert r"$\blacktriangle$" in tex and r"\multicolumn{2}{c}{50 \% coarse}" in tex
    assert_sound_latex(tex)


def test_classes_beside_the_papers(tmp_path):
    with_class_runs(tmp_path, n1=[90, 91, 92], c=[60, 61], cr=[70, 71])
    write_manifest(tmp_path, "n1", [(clip, 0, "fine") for clip in "abc"])
    (tmp_path / "paper.csv").write_text("class,0,50_unrefined,50_refined\npole,63.25,59.70,61.29\n")
    (pole, light, *_), text, tex = compared(CLASSES + PAPER, tmp_path)
    assert [pole[f"{column}_paper"] for column in ("0", "50_unrefined", "50_refined")] == ["63.25", "59.70", "61.29"]
    assert light["0_paper"] == "" and "50 % coarse R in the paper" in text
    assert_sound_latex(tex)


def test_table_3_compares_both_arms_and_their_difference(tmp_path):
    with_runs(tmp_path, n1=[90, 91, 92], c=[60, 61, 62], cr=[70, 71, 72])
    (zero, half), text, tex = compared(COARSE + "baseline: n1", tmp_path)
    verdicts = [half[f"{name}_verdict"] for name in ("unrefined_baseline", "refined_baseline", "refinement")]
    assert verdicts == ["worse", "worse", "better"]
    assert zero["refinement_verdict"] == zero["unrefined_baseline_verdict"] == ""
    assert "Non-refined against N1" in text and r"\multicolumn{3}{c}{Refined}" in tex
    assert_sound_latex(tex)


PAPER = """
baseline: n1
paper:
  values: paper.csv
  classes: cityscapes
  samples: 3
  scored: 9
  trained: {tmanet: {iterations: 40000, crop: [9, 9], network: {past: 1, pretrained: true}}}
"""


@pytest.fixture
def papers(tmp_path):
    """Runs that are trained as the paper's, on as many samples, scored on as many frames."""
    with_runs(tmp_path, n1=[90, 91, 92], b3=[70, 71, 73], c=[60, 61])
    write_manifest(tmp_path, "n1", [(clip, 0, "fine") for clip in "abc"])
    values = "model,scheme,miou\ntmanet,N1,80.5\nother_net,B2n,70\n"
    (tmp_path / "paper.csv").write_text(values)
    return tmp_path


def test_the_papers_value_stands_beside_its_own_schedule(papers):
    rows, text, tex = compared(MIXTURES + PAPER, papers)
    ours = float(rows[0]["mIoU_mean"])
    assert (rows[0]["paper_mIoU"], float(rows[0]["paper_difference"])) == (
        "80.50",
        pytest.approx(ours - 80.5, abs=0.011),
    )
    # The paper has no B3 here, and nothing was run of what it has of the other network.
    assert [row["paper_mIoU"] for row in rows[1:]] == ["", ""]
    assert f"80.50 ({signed(ours - 80.5)})" in text and "Paper (difference)" in text
    assert_sound_latex(tex)


def test_the_papers_values_of_table_3(papers):
    (papers / "paper.csv").write_text("coarse_percent,unrefined_miou,refined_miou\n0,80,80\n50,60,70\n")
    (zero, half), text, tex = compared(COARSE + PAPER, papers)
    assert (zero["unrefined_paper_mIoU"], zero["refined_paper_mIoU"]) == ("80.00", "80.00")
    assert (half["unrefined_paper_mIoU"], half["refined_paper_mIoU"]) == ("60.00", "")
    assert "Refined paper (difference)" in text
    assert_sound_latex(tex)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("samples: 3", "samples: 4"),
        ("scored: 9", "scored: 500"),
        ("classes: cityscapes", "classes: idd"),
        ("iterations: 40000", "iterations: 80000"),
        ("past: 1", "past: 2"),
        ("{tmanet: {iter", "{tdnet: {iter"),
    ],
)
def test_no_papers_value_beside_other_data_networks_or_schedules(papers, old, new):
    rows, text, tex = compared(MIXTURES + PAPER.replace(old, new), papers)
    assert "paper_mIoU" not in rows[0] and "Paper" not in text and "Paper" not in tex


def test_weights_from_scratch_are_not_the_papers(papers):
    for file in papers.glob("runs/tmanet/n1/*/training.json"):
        file.write_text(file.read_text().replace('"w"', "null"))
    rows, *_ = compared(MIXTURES + PAPER, papers)
    assert "paper_mIoU" not in rows[0]


def test_settings_that_cannot_be_read_are_named(papers):
    next(papers.glob("runs/tmanet/n1/*/training.json")).write_text("{")
    with pytest.raises(UserError, match=r"training\.json cannot be read"):
        compared(MIXTURES + PAPER, papers)


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "table4", "table5", "table6", "table7"])
def test_the_definitions_ask_for_the_papers_own_defaults(table):
    """What the definitions call the paper's schedule is what the config's schema trains without a word."""
    schema = yaml.safe_load((EXPERIMENTS.parent / "schemas" / "config.schema.yaml").read_text())
    definition = read_definition(EXPERIMENTS / f"{table}.yaml")
    assert definition.baseline == "n1"
    if definition.kind != "classes":
        assert len(paper(definition.paper["values"].name)) == len(definition.rows)
    for network, asked in definition.paper["trained"].items():
        known = schema["properties"]["training"]["properties"][network]["properties"]
        of_network = asked.pop("network")
        assert asked == {key: known[key]["default"] for key in asked}
        of_network.pop("pretrained")
        assert of_network == {key: known["network"]["properties"][key]["default"] for key in of_network}
