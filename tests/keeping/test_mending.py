import errno
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from kept import Kept

from fewframes.cli import app
from fewframes.keeping.mending import PUT_ASIDE, mend


def damage(kept: Kept) -> tuple[Path, Path, Path]:
    """A damaged label file, a damaged model, and scores that somebody edited; each as it was before, aside."""
    label, model, scores = kept.label_files()[0], kept.run("n1") / "model.safetensors", kept.run("b3") / "metrics.csv"
    label.write_bytes(label.read_bytes()[:100])
    model.write_bytes(model.read_bytes()[:-1])
    scores.write_text(scores.read_text().replace("mean,", "mean,9", 1))
    return label, model, scores


def test_broken_pieces_are_put_aside_and_scores_written_anew(kept: Kept) -> None:
    before = kept.files()
    label, model, scores = damage(kept)
    broken = {str(path): path.read_bytes() for path in (label, model)}
    said = mend(kept.verify())
    after = kept.files()
    assert not label.exists() and not model.exists()
    aside = kept.results / PUT_ASIDE
    for path, content in broken.items():
        assert (aside / Path(path).relative_to(kept.results)).read_bytes() == content, "nothing is lost"
    assert after[str(scores)] == before[str(scores)]
    csvs = {path for path in before if path not in after} - broken.keys()
    assert {Path(path).parent.name for path in csvs} == {"copy"}, "and the CSV that names the label file"
    assert {path: after[path] for path in before if path in after} == {
        path: content for path, content in before.items() if path in after
    }
    assert "3 files put aside" in said and "Scores of 1 run written anew" in said
    assert "1 model must be trained again." in said
    assert "such as: snakemake --cores all\n" in said


def test_a_table_behind_edited_scores_is_looked_at_once_these_are_right(kept: Kept) -> None:
    scores, table = kept.run("b3") / "metrics.csv", kept.results / "tables/table1.md"
    scores.write_text(scores.read_text().replace("mean,", "mean,9", 1))
    table.write_text(table.read_text() + "edited\n")
    mend(kept.verify())
    assert not table.exists() and (kept.results / "tables/table1.csv").exists()


def test_a_file_on_another_disk_is_put_aside_too(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    label, model, _ = damage(kept)
    verified = kept.verify()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refused)
        patch.setattr(Path, "rename", refused)
        said = mend(verified)
    assert not label.exists() and not model.exists() and "3 files put aside" in said


def test_what_cannot_be_moved_is_named_and_the_rest_is_mended(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    label, model, scores = damage(kept)
    right = scores.read_text().replace("mean,9", "mean,", 1)
    move = shutil.move

    def refused(file: Path, target: Path) -> None:
        if file == model:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(file, target)

    monkeypatch.setattr(shutil, "move", refused)
    said = mend(kept.verify())
    assert model.exists() and not label.exists() and scores.read_text() == right
    assert f"{model} cannot be mended: No space left on device" in said and "2 files put aside" in said
    assert "call `fewframes verify --mend` again" in said and "trained" not in said


def test_what_is_whole_is_left_as_it_is(kept: Kept) -> None:
    before = kept.files()
    assert mend(kept.verify()) == "Nothing to mend."
    assert kept.files() == before


def test_the_command_tells_by_its_exit_code_and_lists_what_it_found(kept: Kept) -> None:
    whole = CliRunner().invoke(app, ["verify", "--workers", "1"])
    assert whole.exit_code == 0 and whole.output.rstrip().endswith("Whole.")
    label, _, _ = damage(kept)
    broken = CliRunner().invoke(app, ["verify", "config.yaml", "--workers", "1", "--list", "list.csv"])
    assert broken.exit_code == 1 and "Not whole: 3 pieces to mend" in broken.output
    assert label.name in Path("list.csv").read_text()
    assert label.exists(), "only --mend touches anything"


def test_nothing_is_mended_under_the_hands_of_a_running_head(kept: Kept) -> None:
    label, _, _ = damage(kept)
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{kept.results}/plan.ran\n")
    refused = CliRunner().invoke(app, ["verify", "--mend", "--workers", "1"])
    assert "Snakemake is at work" in str(refused.exception)
    assert label.exists()
