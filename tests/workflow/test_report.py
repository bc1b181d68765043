"""The report as a target: it follows what it shows, and makes nothing else due."""

import pytest

pytestmark = pytest.mark.slow


def test_all_has_a_report_of_everything_and_it_is_up_to_date(study):
    page = (study.results / "report.html").read_text(encoding="utf-8")
    assert "4 of 4</b> runs finished" in page
    for shown in (
        "Table 1:",
        "Table 3:",
        "Figure 2:",
        "half-the-labels",
        "Labels by flow",
        "grabcut",
        "reader: cityscapes",
    ):
        assert shown in page, shown
    assert str(study.folder) not in page and "/city-truth" not in page
    run = study.run("report", options=["--dry-run"])
    assert run.code == 0 and run.jobs == [], run.output


def test_another_note_changes_the_report_and_no_training(study):
    study.configure(note="Of <six> clips.")
    run = study.run("report")
    assert run.code == 0, run.output
    assert run.of("site") and run.of("train") == run.of("evaluate") == run.of("propagate") == []
    assert "Of &lt;six&gt; clips." in (study.results / "report.html").read_text(encoding="utf-8")


def test_labels_alone_have_a_report(study):
    study.configure(experiments=[], training=None, tables=[])
    run = study.run("report")
    assert run.code == 0, run.output
    page = (study.results / "report.html").read_text(encoding="utf-8")
    assert "labels alone were asked for" in page and "Labels by flow" in page and "Table 1:" not in page
