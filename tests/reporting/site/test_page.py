"""The report as a file: what is in it, and what must not be. How it behaves: test_browser.py."""

import base64
import getpass
import io
import json
import platform
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fewframes.cli.site import report
from fewframes.core.clips import LABEL_COLUMNS
from fewframes.core.errors import UserError
from fewframes.core.files import write_csv
from fewframes.core.labelfile import Layer, write_label_file
from fewframes.reporting.printing import GAP, MINUS, Column
from fewframes.reporting.site.neutral import neutral
from fewframes.reporting.site.pictures import caption_of, titled
from fewframes.reporting.site.tabular import read_printed, shown

WORKFLOW = Path(__file__).parents[3] / "workflow"
VOID = {"meta", "img", "input"}
FIGURES = ("figure1", "figure2", "figure3", "figure4", "figure5", "cost", "clips", "quality", "signals")


class Page(HTMLParser):
    """The page's elements as (name, attributes), its text, and its tables by the heading above."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.tables, self.headings, self._open = [], "", {}, [], []
        self.feed(text)
        assert not self._open, "every element is closed"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append([tag, ""])
        if tag == "tr":
            self.tables.setdefault(self.headings[-1][1], []).append([])
        if tag in ("th", "td"):
            self.tables[self.headings[-1][1]][-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        self.text += " "

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self.text += data
        if {"h1", "h2", "h3", "h4"} & set(self._open):
            self.headings[-1][1] += data
        if {"th", "td"} & set(self._open):
            self.tables[self.headings[-1][1]][-1][-1] += data

    def all(self, tag, attribute):
        return [attributes[attribute] for name, attributes in self.elements if name == tag and attribute in attributes]


def test_every_section_is_there_with_what_belongs_into_it(made):
    page = Page(made.write())
    titles = [text for tag, text in page.headings if tag == "h2"]
    assert titles == [
        *("What was asked", "In short", "Tables", "The paper\N{RIGHT SINGLE QUOTATION MARK}s claims", "Figures"),
        *("Quality of labels", "Labels to look at", "What made it", "Configuration"),
    ]
    assert "Toy numbers." in page.text and "21 of 30 runs finished" in " ".join(page.text.split())
    first, *rows = page.tables["All fine labels, controls, and the best for its hours"]
    assert first[:4] == ["Network", "ID", "What it is", "Hours"]
    assert [row[1:3] for row in rows] == [
        ["B3, key frames alone", "control"],
        ["B3", "best for its hours"],
        ["N1", "all fine labels, best for its hours"],
    ]
    assert rows[1][-1].endswith("worse") and "to" in rows[1][-1] and rows[2][-1] == GAP
    assert [row[:3] for row in page.tables["Pseudo-labels by distance from the key frame"][1:]] == [
        ["flow", "1", "16"],
        ["flow", "2", "16"],
        ["flow", "10", "16"],
    ]
    (road, mean) = page.tables["Refined labels by class"][1:]
    assert (
        road[:2] == ["grabcut", "road"] and road[4::3] == ["+1.00", f"{MINUS}2.00", "0.00", GAP] and mean[4] == "+3.00"
    )
    assert page.tables["Signals that need no truth"][1] == [
        "flow",
        "2",
        "0.750",
        "0.500",
        GAP,
        GAP,
        "0.500",
        "1.000",
        "0.500",
    ]


def test_claims_stand_by_outcome_with_their_checks(made):
    page = Page(made.write())
    outcomes = [text.split(" ", 1)[1] for tag, text in page.headings if tag == "h3" and text[:1] in "✓✗○"]
    counts = {text.rpartition(" (")[0]: int(text.rpartition("(")[2][:-1]) for text in outcomes}
    listed = yaml.safe_load((WORKFLOW / "experiments/claims.yaml").read_text())
    assert sum(counts.values()) == len(listed) and counts["Did not hold"] > 0 and counts["Not established"] > 0
    assert all(claim["claim"] in page.text for claim in listed)
    tables = [rows for name, rows in page.tables.items() if name[:1] in "✓✗○"]
    checks = [row for rows in tables for row in rows if row[0] != "Check"]
    assert len(checks) == sum(len(claim.get("checks", ())) for claim in listed)


def test_the_page_is_well_made(made):
    page = Page(made.write())
    ids = Counter(i for tag in {t for t, _ in page.elements} for i in page.all(tag, "id"))
    assert set(ids.values()) == {1}
    levels = [int(tag[1]) for tag, _ in page.headings]
    assert levels.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert all(len(alt) > 10 for alt in page.all("img", "alt")) and len(page.all("img", "alt")) == 5 + 6 * 3
    beside = set()
    for href in page.all("a", "href"):
        if href.startswith("#"):
            assert href[1:] in ids
        elif href != "snakemake-report.html":
            assert (made.results / href).is_file(), href
            beside.add(href)
    assert {"tables/table1.tex", "tables/claims.csv", "figures/cost.pdf", "figures/labels-flow.html"} <= beside


def test_pictures_are_inside_and_no_larger_than_the_page_needs(made):
    page = Page(made.write())
    sources = page.all("img", "src")
    assert all(source.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for source in sources)
    large = next(s for s, alt in zip(sources, page.all("img", "alt"), strict=True) if alt.startswith("Figure 2"))
    assert len(large) < (made.results / "figures/figure2.png").stat().st_size
    picture = Image.open(io.BytesIO(base64.b64decode(large.partition(",")[2])))
    assert (picture.format, picture.size) == ("JPEG", (1600, 376))


def test_nothing_is_fetched_and_only_its_own_script_runs(made):
    page = Page(made.write())
    (policy,) = (a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and "'unsafe-inline'; script" in policy
    assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.elements}
    assert not page.all("script", "src") and not any(":" in href for href in page.all("a", "href"))
    assert not re.search(r"@import|url\(", made.page.read_text().partition("</style>")[0])


def test_equal_results_are_equal_bytes_wherever_they_lie(made, tmp_path):
    first = made.write()
    assert made.write() == first
    shutil.copytree(made.results, tmp_path / "elsewhere" / "toy")
    made.results, made.page = tmp_path / "elsewhere" / "toy", tmp_path / "elsewhere" / "toy" / "report.html"
    moved = made.write()
    assert moved.replace("…/toy/", "") == first.replace("…/toy/", "")


def test_nothing_of_the_machine_is_told(made, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "hush-hush")
    made.config["dataset"]["options"] = {"list": "/mnt/someone/lists/clips.csv", "site": "https://me:word@host/x?key=1"}
    made.config["training"] = {"tmanet": {"network": {"pretrained": "~/weights/mine.pth"}}}
    text = made.write(note="Made from /mnt/someone/data and C:\\Users\\someone\\x.png, 1/2 and/or more.")
    for secret in (str(made.results.parent), str(Path.home()), "someone", "hush-hush", "me:word", "key=1"):
        assert secret not in text or secret == "/", secret
    named = {platform.node(), getpass.getuser()} - {"root", "localhost", ""}
    assert not any(re.search(rf"\b{re.escape(name)}\b", Page(text).text) for name in named)
    assert "Made from …/data and …/x.png, 1/2 and/or more." in text
    assert "…/clips.csv" in text and "…/mine.pth" in text


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "B0", "x.png", "my data", "v1.2", "_x-y", "..."]), min_size=2, max_size=5))
def test_of_a_path_the_last_part_is_left(parts):
    for root in ("/", "~/", "../", "C:\\", "\\\\"):
        shown_path = neutral({"key": [root + "/".join(parts)]})["key"][0]
        assert shown_path == f"…/{parts[-1]}"


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("//me:pw@host/x?key=1", "…/x?***"),
        ("from //me:pw@host/x/y?key=1 on", "from //***@host/x/y?*** on"),
        ("host:/srv/me/data", "…/data"),
        ("read from me@host:/srv/me/data, once", "read from …/data, once"),
        ("file:///home/me/x.csv", "…/x.csv"),
        ("see file:///home/me/x.csv", "see …/x.csv"),
        ("https://me:pw@host:8080/a/b?key=1", "https://***@host:8080/a/b?***"),
    ],
)
def test_addresses_and_paths_elsewhere_tell_no_more(value, seen):
    assert neutral(value) == seen


@pytest.mark.parametrize("kept", ["results/toy", "1/2 and/or 3", "https://host/a/b", "a -1.5 ± 2", "", "50 % coarse"])
def test_other_text_stays_as_it_is(kept):
    assert neutral(kept) == kept and neutral([kept, 3, None, True]) == [kept, 3, None, True]


def test_names_and_notes_are_text_whatever_they_hold(made):
    evil = "<script>alert('x')</script>{{ 7*7 }}\"><img src=x>"
    made.config["dataset"]["reader"] = evil
    made.config["training"] = {evil: {"network": {evil: evil}}}
    title = "<script>alert(1)</script> & 'co'"
    table = made.results / "tables" / "table1.html"
    table.write_text(table.read_text().replace("Table 1:", title.replace("&", "&amp;").replace("<", "&lt;")))
    page = Page(made.write(note=evil))
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert evil in page.text and any(text.startswith(title) for _, text in page.headings)
    assert not any(source == "x" for source in page.all("img", "src"))


def test_without_trainings_there_are_labels_alone(labels_alone):
    page = Page(labels_alone.write())
    titles = [text for tag, text in page.headings if tag == "h2"]
    assert titles == ["What was asked", "Labels to look at", "What made it", "Configuration"]
    assert "none: labels alone were asked for" in page.text and "0 of 0" not in page.text
    assert set(page.all("a", "href")) >= {"#overlays"} and "#tables" not in page.all("a", "href")


def test_runs_that_are_missing_are_gaps(made):
    shutil.rmtree(made.results / "runs")
    page = Page(made.with_tables().write())
    assert "0 of 30 runs finished" in " ".join(page.text.split())
    assert "rows that were not run" in " ".join(page.text.split())
    assert "All fine labels, controls, and the best for its hours" not in page.tables


def test_runs_that_were_not_asked_for_are_not_missing(made):
    """Of four experiments TDNet is to be trained on N1 alone; a run of B3 lies there from another config."""
    shutil.copytree(made.results / "runs/tmanet", made.results / "runs/tdnet")
    made.grid = replace(made.grid, networks=("tmanet", "tdnet"), own_experiments={"tdnet": ("n1",)})
    made.config["training"] = {"tmanet": {}, "tdnet": {"experiments": ["n1"]}}
    page = Page(made.with_tables().write())
    assert "24 of 33 runs finished" in " ".join(page.text.split())
    assert "trained on 1 of the 4 experiments" in page.text
    headline = page.tables["All fine labels, controls, and the best for its hours"]
    assert [row[1] for row in headline if row[0] == "tdnet"] == ["N1"]
    (table1,) = (rows for name, rows in page.tables.items() if name.startswith("Table 1:"))
    shown = {row[1]: row for row in table1 if row[0] == "TDNet"}
    assert "B3, key frames alone" not in shown and shown["B3"][3] == GAP and shown["N1"][3].endswith("(3)")


def facts_of(page):
    """What was asked, by its terms."""
    text = re.sub(r"\s+", " ", page)
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))


def test_each_network_is_scored_in_its_own_mode(made):
    made.grid = replace(made.grid, networks=("tmanet", "tdnet"))
    made.config["evaluation"] = {"split": "val", "mode": "slide", "tdnet": {"mode": "resized"}}
    said = facts_of(made.write())
    assert said["Scored on"] == "the finely annotated frames of val, mode slide (tmanet), resized (tdnet)"


def test_the_labels_that_are_made_are_named_and_no_others(made):
    made.config |= {"propagation": {"method": "flow"}, "refinement": {"method": "sam_points"}}
    assert facts_of(made.write())["Labels made"] == "propagated by flow"
    experiments = {**made.grid.experiments, "b3-filled-1": (0,), "b3-filled-2": (0,)}
    made.grid = replace(made.grid, experiments=experiments)
    said = facts_of(made.write(labelled={"pseudo": ["flow"], "refined": ["automask", "sam_points_all"]}))
    assert said["Labels made"] == (
        "propagated by flow; refined by automask, sam_points_all; "
        "filled by tmanet trained on B3 (for B3 filled once), B3 filled once (for B3 filled twice)"
    )
    assert facts_of(made.write(labelled={}))["Labels made"].startswith("filled by")
    made.config["filling"] = {"network": "tdnet"}
    assert "filled by tdnet" in facts_of(made.write())["Labels made"]
    made.grid = replace(made.grid, experiments={"n1": (0,)})
    assert facts_of(made.write(labelled={"pseudo": []}))["Labels made"] == "none"


def test_labels_that_mean_nothing_are_marked(labels_alone):
    path = labels_alone.results / "figures" / "labels-flow.html"
    assert "these labels mean nothing" not in labels_alone.write()
    path.write_text(path.read_text().replace("<header>", '<header><p class="banner">Random</p>'))
    assert "these labels mean nothing" in labels_alone.write()


def test_a_gallery_is_sampled_from_the_worst_to_the_best(made):
    page = Page(made.write())
    cards = [text.split()[:2] for tag, text in page.headings if tag == "h4"]
    assert [number for number, _ in cards] == ["1.", "2.", "4.", "5.", "7.", "8."]
    assert cards[0][1] == "clip0" and cards[-1][1] == "clip7"
    said = " ".join(page.text.split())
    assert "8 of 8 clips, those of the lowest coverage first." in said and "Here stand 6 of these" in said
    assert "The gallery of flow" in said and "road" in said


def test_a_gallery_of_the_worst_clips_says_that_there_are_others(made):
    made.with_labels(most=7)
    said = " ".join(Page(made.write()).text.split())
    assert "7 of 8 clips, those of the lowest coverage first." in said and "6 of 7" not in said


def test_what_made_it_names_versions_weights_and_classes(made):
    page = Page(made.write())
    assert {"Fewframes", "Python", "numpy", "torch", "train", "digest"} <= set(re.findall(r"\w+", page.text))
    (row,) = page.tables["Labels"][1:]
    assert row == ["propagation", "flow", "2", "not published", "ab" * 32, "reach 3"]
    (row,) = page.tables["Networks"][1:]
    assert row == ["tmanet", "1,234,567", "not published", "ab" * 32, "21"]


def test_who_fills_labels_is_named(made):
    made.grid = replace(made.grid, experiments={**made.grid.experiments, "b3-filled-1": (0,), "b3-filled-2": (0,)})
    told = {"model": "somewhere/toy/runs/tmanet/b3/draw0-seed0/model.safetensors", "model_hash": "cd" * 32}
    layers = {-2: Layer(np.zeros((16, 32), np.uint8), "f")}
    file = "filled/b3-filled-1/labels/clip0-ab.h5"
    write_label_file(made.results / file, layers, {**told, "version": 3, "settings": {"mode": "whole"}})
    write_csv(
        made.results / "filled/b3-filled-1/draw0.csv", LABEL_COLUMNS, [("clip0", -2, file, "f", layers[-2].checksum)]
    )
    flow, filled = Page(made.write()).tables["Labels"][1:]
    assert flow[:2] == ["propagation", "flow"]
    assert filled == ["filling", "b3-filled-1", "3", "tmanet/b3/draw0-seed0", "cd" * 32, "mode whole"]


def test_tables_are_read_back_as_they_were_printed(made):
    table = read_printed(made.results / "tables" / "table1.html", made.note)
    assert table.title.startswith("Table 1:") and not any(made.note in text for text in table.below)
    assert table.columns[table.head].heading == "ID"
    rows = {row[table.head].text: row for row in table.rows if row[0].text == "TMANet"}
    keys = {column.heading: cell.key for column, cell in zip(table.columns, rows["B3"], strict=True)}
    assert 80 < keys["mIoU"] < 88 and keys["Against N1"] < 0 and keys["ID"] is None
    (boxes,) = (cell.frames for cell in rows["B3"] if cell.frames)
    assert boxes == "1 annotated, 2 with a pseudo-label, 18 not used"
    assert table.gap(rows["B5"]) and not table.gap(rows["N1"]) and table.gaps == sum(map(table.gap, table.rows)) > 5


def test_a_row_without_scores_was_not_run_whatever_it_costs(made):
    """P2's manifest is made, so its hours are known, and none of its runs is finished."""
    table = read_printed(made.results / "tables" / "table1.html", made.note)
    (row,) = (row for row in table.rows if [cell.text for cell in row[:2]] == ["TMANet", "P2"])
    hours = next(cell for cell, column in zip(row, table.columns, strict=True) if column.heading == "Hours")
    assert "." in hours.text and table.gap(row)
    both = [Column("Non-refined mIoU"), Column("Refined mIoU"), Column("Hours")]
    assert not shown("t", both, [[GAP, "50.00 (1)", GAP]]).gaps and shown("t", both, [[GAP, GAP, "1.50"]]).gaps == 1
    classes = [Column("Class", words=True), Column("50 % NR"), Column("50 % R")]
    assert shown("t", classes, [["road", GAP, "90.00"], ["car", GAP, GAP]]).gaps == 1
    path = made.results / "quality/signals/flow.csv"
    path.write_text(path.read_text().replace(",0.5\n", ",\n"))
    assert Page(made.write()).tables["Signals that need no truth"][1][-1] == GAP
    assert "1 of 1 rows that were not run" not in " ".join(Page(made.page.read_text()).text.split())


def test_cells_are_sorted_by_the_number_that_they_begin_with():
    columns = [Column("a"), Column("b"), Column("c", words=True)]
    table = shown("t", columns, [["1,234.5 ± 2 (3)", "x1", f"{MINUS}1.50 ({MINUS}2 to 1), better"], [GAP, "2", ""]])
    assert [[cell.key for cell in row] for row in table.rows] == [[1234.5, None, -1.5], [None, None, None]]


def test_every_figure_has_a_title_and_a_caption_without_markup():
    titles = set()
    for name in FIGURES:
        title, paragraphs = caption_of(name, WORKFLOW / "report")
        assert title and paragraphs and not re.search(r"[`{}*_|]|::|\.\. ", title + "".join(paragraphs)), name
        titles.add(title)
    assert len(titles) == len(FIGURES)
    assert caption_of("another", WORKFLOW / "report") == ("", []) and titled("another-one2") == "Another one 2"


def test_what_cannot_be_shown_is_named(made, tmp_path):
    for name in ("tables/table1.html", "figures/labels-flow.html", "figures/cost.png"):
        path = made.results / name
        kept = path.read_bytes()
        path.write_bytes(b"cut")
        with pytest.raises(UserError, match=path.name):
            made.write()
        path.write_bytes(kept)
    (made.results / "runs/tmanet/n1/draw0-seed0/training.json").write_text("{")
    with pytest.raises(UserError, match=r"training\.json cannot be read"):
        made.write()
    made.page = tmp_path / "report.html"
    with pytest.raises(UserError, match="relative to it"):
        made.write()


def test_the_command_makes_the_same_page(made):
    expected = made.write()
    settings = {"networks": ["tmanet"], "experiments": made.grid.experiments, "seeds": [0, 1, 2], "note": made.note}
    arguments = [
        "--settings",
        json.dumps({**settings, "allow_random_weights": False}),
        "--config",
        json.dumps(made.config),
    ]
    arguments += [
        "--catalogue",
        WORKFLOW / "experiments/catalogue.yaml",
        "--classes",
        "cityscapes",
        "--results",
        made.results,
    ]
    arguments += ["--captions", WORKFLOW / "report", "--labelled", "pseudo", "flow", "--out", made.page, *made.files]
    made.page.unlink()
    run = CliRunner().invoke(report, list(map(str, arguments)), catch_exceptions=False)
    assert run.exit_code == 0, run.output
    assert made.page.read_text() == expected
