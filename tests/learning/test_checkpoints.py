from pathlib import Path

import pytest
import torch

from fewframes.learning.checkpoints import CheckpointFile


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "run", "abc")
    assert file.load() is None
    file.save({"iteration": 3, "weights": {"w": torch.arange(4.0)}})
    file.save({"iteration": 4, "weights": {"w": torch.arange(5.0)}})
    state = CheckpointFile(tmp_path / "run", "abc").load()
    assert state is not None
    assert state["iteration"] == 4
    assert torch.equal(state["weights"]["w"], torch.arange(5.0))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["last.pt"]


def test_another_trainings_checkpoint_is_ignored_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CheckpointFile(tmp_path, "abc").save({"iteration": 3})
    assert CheckpointFile(tmp_path, "abd").load() is None
    assert "belongs to other samples or settings" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [0, 40, 0.5, 0.99])
def test_a_damaged_checkpoint_is_ignored_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str], keep: float) -> None:
    file = CheckpointFile(tmp_path, "abc")
    file.save({"weights": torch.zeros(1000)})
    content = file.path.read_bytes()
    file.path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    assert file.load() is None
    assert "is damaged" in capsys.readouterr().err


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "abc")
    torch.save({"fingerprint": "abc", "iteration": Path("code")}, file.path)
    assert file.load() is None


def test_removing_takes_leftovers_of_killed_processes_and_nothing_else(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "run", "abc")
    file.save({"iteration": 3})
    (tmp_path / "run" / ".last.pt.k1ll3d.pt").write_bytes(b"half")
    (tmp_path / "run" / "notes.txt").write_text("a user's own")
    file.remove()
    file.remove()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["notes.txt"]
