"""What targets by name ask for: what they rest on and no more, or a sentence where the config has nothing for them."""

import pytest
from study import Study

pytestmark = pytest.mark.slow

DRY = ("--dry-run",)
MADE = {"table", "claims_table", "curve", "sheet", "label_quality"}
EXPERIMENTS = ["n1", "b3", "b3-fine", "coarse-50", "coarse-50-refined"]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, warm):
    """A study of which nothing has run."""
    study = Study(tmp_path_factory.mktemp("study"), warm)
    study.configure(experiments=EXPERIMENTS)
    return study


@pytest.mark.parametrize(
    ("target", "made", "experiments", "stages"),
    [
        ("table1", "table", {"n1", "b3", "b3-fine"}, {"propagate"}),
        ("figure3", "sheet", set(), {"refine"}),
        ("quality", "label_quality", set(), {"propagate", "refine"}),
    ],
)
def test_a_target_asks_for_what_it_shows(fresh, target, made, experiments, stages):
    """One of a kind: what the other tables and figures show, tests/experiments/test_parts.py sees to."""
    run = fresh.run(target, options=DRY)
    assert run.code == 0, run.output
    assert run.experiments("train") == run.experiments("evaluate") == experiments
    assert {rule for rule, _ in run.jobs} & {"propagate", "refine"} == stages
    assert {rule for rule, _ in run.jobs} & MADE == {made}


def test_the_paper_is_all_of_it(fresh):
    run = fresh.run("paper", options=DRY)
    assert run.code == 0, run.output
    # Tables 5 and 7 have rows among the experiments, though the config does not ask for them.
    assert [w.removeprefix("table=") for w in run.of("table")] == ["table1", "table3", "table5", "table7"]
    assert run.of("curve") == [f"figure={name}" for name in ("clips", "cost", "figure4")]
    assert run.of("sheet") == [f"figure=figure{i}" for i in (1, 2, 3)]
    assert run.experiments("train") == set(EXPERIMENTS) and run.of("claims_table") and run.of("label_quality")
    (inputs,) = [line for line in run.output.splitlines() if "input:" in line and "table1.yaml" in line]
    assert "workflow/experiments/paper/table1.csv" in inputs


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("table2", "table2 is of a dataset with the classes 'idd'"),
        ("figure5", "figure5 shows tdnet trained on coarse-50,"),
    ],
)
def test_what_the_config_has_nothing_for_is_one_sentence(fresh, target, why):
    run = fresh.run(target, options=DRY)
    assert run.code == 2
    (said,) = [line for line in run.output.splitlines() if line.startswith("fewframes: ")]
    assert why in said and "Traceback" not in run.output


def test_what_a_failure_took_away_is_made_again_by_what_rests_on_it(study):
    """Snakemake does not miss a file by itself whose readers are up to date."""
    (model,) = study.results.glob("runs/tmanet/b3/*/model.safetensors")
    model.unlink()
    assert study.run("table1", options=DRY).experiments("train") == {"b3"}
    assert study.run("table3", options=DRY).jobs == []
