import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kept import CONFIG, REPOSITORY, Kept, study_of

from fewframes.cli import app
from fewframes.core.errors import UserError
from fewframes.keeping import pruning
from fewframes.keeping.pruning import _HALF_WRITTEN, Unused, prune, summary

JUNK = ["label", "refined", "filled", "checkpoint", "half", "aside", "shard", "method"]


def pruned(*, runs: bool = False, methods: bool = False, dry: bool = False, anyway: bool = False) -> list[Unused]:
    found, _ = prune(Path("config.yaml"), REPOSITORY, runs=runs, methods=methods, dry=dry, anyway=anyway)
    return found


def write(path: Path, hours_old: float = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"junk")
    when = time.time() - 3600 * hours_old
    os.utime(path, (when, when))
    return path


def test_finished_results_have_nothing_to_prune(kept: Kept) -> None:
    before = kept.files()
    assert pruned(runs=True, methods=True) == []
    assert kept.files() == before
    assert summary([], kept.results, False) == "Everything in results/toy is in use."


def test_what_nothing_uses_goes_and_all_else_stays(kept: Kept) -> None:
    before = kept.files()
    clip = kept.label_files()[0].stem.rpartition("-")[0]
    old = write(kept.results / f"pseudo/copy/labels/{clip}-0123456789abcdef.h5")
    left = write(kept.run("n1") / "checkpoints/last.pt")
    half = write(kept.results / "pseudo/copy/labels/.a-0123456789abcdef.h5.abcd1234.h5")
    aside = write(kept.results / "put-aside/tables/table1.csv")
    shard = write(kept.results / "pseudo/copy/0007.csv")
    junk = {old, left.parent, half, aside.parents[1], shard}
    found = pruned(dry=True)
    assert {each.path for each in found} == junk and all(path.exists() for path in junk)
    assert "would be freed: nothing was removed" in summary(found, kept.results, True)
    assert pruned() == found
    assert kept.files() == before and not left.parent.exists() and not aside.parents[1].exists()
    assert kept.verify().report.exit_code == 0
    assert pruned() == []


def test_the_labels_of_an_unfinished_shard_stay(kept: Kept) -> None:
    shard = next(p for p in sorted(kept.results.glob("pseudo/copy/000?.csv")) if len(p.read_text().splitlines()) > 1)
    mine = {line.split(",")[0] for line in shard.read_text().splitlines()[1:]}
    shard.unlink()
    for file in (kept.results / "manifests").rglob("*.csv"):
        file.unlink()
    (kept.results / "pseudo/copy/labels.csv").unlink()
    before = kept.label_files()
    assert pruned() == []
    assert kept.label_files() == before and mine


@pytest.mark.parametrize("shards", [1, 3])
def test_labels_stay_until_the_plan_deals_to_as_many_shards_as_the_config_has(kept: Kept, shards: int) -> None:
    """Nothing is gathered yet, no manifest written: the CSVs of shards alone say what is labelled."""
    for file in (kept.results / "manifests").rglob("*.csv"):
        file.unlink()
    (kept.results / "pseudo/copy/labels.csv").unlink()
    kept.configure(shards=shards)
    before = kept.files()
    assert pruned(dry=True) == pruned() == pruned() == []
    assert kept.files() == before


def test_once_the_plan_deals_to_fewer_shards_the_csvs_of_the_others_go(kept: Kept) -> None:
    config = {**CONFIG, "shards": 1}
    kept.configure(shards=1)
    CliRunner().invoke(
        app,
        ["needs", "--settings", study_of(config).plan_settings(), "--out", str(kept.results)],
        catch_exceptions=False,
    )
    assert [file.name for file in (kept.results / "shards/propagate").iterdir()] == ["0000.csv"]
    assert {each.path for each in pruned()} == {
        kept.results / folder / "0001.csv" for folder in ("pseudo/copy", "refined/none")
    }


def test_runs_that_left_the_config_go_only_when_asked(kept: Kept) -> None:
    kept.configure(experiments=["n1"])
    assert pruned(dry=True) == []
    assert kept.label_files("filled/b3-filled-1")
    assert kept.run("b3").is_dir()
    pruned()
    assert (kept.run("b3") / "model.safetensors").is_file() and (kept.results / "manifests/b3/draw0.csv").is_file()
    pruned(runs=True)
    assert not kept.run("b3").parent.exists() and not (kept.results / "manifests/b3").exists()
    assert not (kept.results / "filled").exists()
    assert (kept.run("n1") / "model.safetensors").is_file()


def test_labels_of_a_method_that_left_go_when_asked_but_for_those_that_a_manifest_uses(kept: Kept) -> None:
    kept.configure(propagation={"method": "flow"})
    used = {line.split(",")[-2] for line in (kept.results / "manifests/b3/draw0.csv").read_text().splitlines()[1:]}
    assert pruned() == []
    pruned(methods=True)
    left = {file.relative_to(kept.results).as_posix() for file in kept.label_files()}
    assert left and left <= used and not (kept.results / "pseudo/copy/0000.csv").exists()


def test_an_unfinished_training_keeps_its_checkpoint(kept: Kept) -> None:
    (kept.run("n1") / "model.safetensors").unlink()
    checkpoint = write(kept.run("n1") / "checkpoints/last.pt")
    other = write(kept.run("coarse-50-refined") / "checkpoints/last.pt")
    assert pruned() == [] and checkpoint.exists() and other.exists()


def test_a_checkpoint_of_other_settings_is_of_the_training_that_is_due(kept: Kept) -> None:
    training = {"tmanet": {**CONFIG["training"]["tmanet"], "lr": 0.5}}
    kept.configure(training=training)
    checkpoint = write(kept.run("n1") / "checkpoints/last.pt")
    assert pruned() == [] and checkpoint.exists()


def test_what_may_still_be_written_stays(kept: Kept) -> None:
    fresh = write(kept.results / "pseudo/copy/.labels.csv.abcd1234.csv", hours_old=0)
    assert pruned() == [] and fresh.exists()


def test_what_goes_while_it_is_looked_at_is_left_to_whoever_works(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    half, left = write(kept.results / ".index.csv.abcd1234.csv"), write(kept.run("n1") / "checkpoints/last.pt")
    looked_at = pruning._below

    def taken_away(folder: Path) -> Iterator[Path]:
        for path in list(looked_at(folder)):
            path.unlink() if path in (half, left) else None
            yield path

    monkeypatch.setattr(pruning, "_below", taken_away)
    assert [(each.path, each.size) for each in pruned(dry=True)] == [(left.parent, 0)]
    assert not half.exists() and not left.exists()


def test_nothing_is_pruned_while_a_head_runs_unless_told(kept: Kept) -> None:
    half = write(kept.results / ".index.csv.abcd1234.csv")
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{kept.results}/plan.ran\n")
    with pytest.raises(UserError, match="Snakemake is at work"):
        pruned()
    assert half.exists()
    pruned(anyway=True)
    assert not half.exists()


def test_a_folder_that_is_a_link_to_elsewhere_is_not_ours(kept: Kept) -> None:
    elsewhere = kept.folder / "elsewhere"
    (kept.results / "pseudo/copy/labels").rename(elsewhere)
    (kept.results / "pseudo/copy/labels").symlink_to(elsewhere)
    kept.configure(experiments=["n1"])
    before = sorted(elsewhere.iterdir())
    pruned(runs=True, methods=True)
    assert sorted(elsewhere.iterdir()) == before


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.sampled_from(JUNK)))
def test_after_any_prune_the_results_are_whole(kept: Kept, chosen: set[str]) -> None:
    clip = kept.label_files()[0].stem.rpartition("-")[0]
    junk = {
        "label": kept.results / f"pseudo/copy/labels/{clip}-0000000000000000.h5",
        "refined": kept.results / f"refined/none/labels/{clip}-0000000000000000.h5",
        "filled": kept.results / f"filled/b3-filled-1/labels/{clip}-0000000000000000.h5",
        "checkpoint": kept.run("b3") / "checkpoints/bad-batch-0.pt",
        "half": kept.results / "runs/.metrics.csv.0000abcd.csv",
        "aside": kept.results / "put-aside/x.csv",
        "shard": kept.results / "pseudo/copy/0009.csv",
        "method": kept.results / "pseudo/flow/labels/x-0000000000000000.h5",
    }
    before = kept.files()
    for name in chosen:
        write(junk[name])
    pruned(methods=True)
    assert kept.files() == before


@pytest.mark.parametrize("name", [".index.csv.abcd_123.csv", ".last.pt.0123abcd.pt", ".run.abcdefgh", "x.pt.part"])
def test_what_is_left_half_written_is_known_by_its_name(name: str) -> None:
    assert _HALF_WRITTEN.fullmatch(name)


@pytest.mark.parametrize("name", ["index.csv", "plan.ran", "model.safetensors", ".gitignore", "events.out.tfevents.1"])
def test_what_is_whole_is_not(name: str) -> None:
    assert not _HALF_WRITTEN.fullmatch(name)
