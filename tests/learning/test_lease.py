import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewframes.core.errors import UserError
from fewframes.learning import lease as room
from fewframes.learning.lease import lease

BEAT = 0.05

HOLDER = """
import sys
from fewframes.learning.lease import lease
with lease(sys.argv[1], beat=0.02):
    print("held", flush=True)
    sys.stdin.read()
"""


def foreign(folder: Path, **changed: object) -> Path:
    """A lease that a process of another machine left; its number is one that runs here."""
    folder.mkdir()
    holder = {"host": "node7", "pid": os.getpid(), "place": "node7 2", "token": "theirs", "beats": 3}
    (folder / "lease").write_text(json.dumps({**holder, **changed}))
    return folder / "lease"


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A live process that holds the lease of `tmp_path / "run"`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lease_changes_at_every_beat_and_is_gone_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "run" / "lease"
    with lease(file.parent, BEAT) as held:
        contents = set()
        until = time.monotonic() + 10
        while len(contents) < 3 and time.monotonic() < until:
            contents.add(file.read_bytes())
            held.check()
        holders = [json.loads(content) for content in contents]
        assert len({holder["beats"] for holder in holders}) == 3
        assert {(holder["host"], holder["pid"]) for holder in holders} == {(socket.gethostname(), os.getpid())}
        assert len({len(content) for content in contents}) == 1
    assert not file.parent.exists()


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_a_lease_is_given_back_whatever_happens(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "last.pt").touch()
    with pytest.raises(error), lease(tmp_path, BEAT):
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_the_lease_of_a_live_process_is_refused(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    named = f"run is being trained by process {holder.pid} on host {socket.gethostname()}: wait for it"
    with pytest.raises(UserError, match=named), lease(tmp_path / "run", 0.5):
        pass
    assert json.loads((tmp_path / "run" / "lease").read_bytes())["pid"] == holder.pid


def test_the_lease_of_a_killed_process_is_taken_over_at_once(
    tmp_path: Path, holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    holder.kill()
    holder.wait()
    with lease(tmp_path / "run", beat=1000) as held:
        held.check()
    assert f"process {holder.pid} on host {socket.gethostname()}, which is gone" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_suspended_holder_leaves_the_new_lease_alone(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGSTOP)
    with lease(tmp_path / "run", 0.2) as held:
        holder.send_signal(signal.SIGCONT)
        time.sleep(0.2)  # ten of its beats
        held.check()
        holder.communicate()  # at the end of its input it leaves the context
        held.check()


@pytest.mark.parametrize("content", [None, b"", b"[", b"5"])
def test_the_lease_of_a_silent_holder_is_taken_over_after_three_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    file = foreign(tmp_path / "run")
    if content is not None:  # its writer was killed before the first word, or it is none of ours
        file.write_bytes(content)
    slept: list[float] = []
    monkeypatch.setattr(room.time, "sleep", slept.append)
    with lease(file.parent, beat=60) as held:
        held.check()
    assert slept[:3] == [60] * 3
    assert max(slept[3:]) < 1


def test_a_holder_elsewhere_is_judged_by_its_beats_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = foreign(tmp_path / "run", pid=2**22 + 1)  # no process here has this number
    monkeypatch.setattr(room.time, "sleep", lambda _: file.write_text(file.read_text() + " "))
    with pytest.raises(UserError, match="process 4194305 on host node7"), lease(file.parent, 60):
        pass


def test_a_lease_given_back_meanwhile_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = foreign(tmp_path / "run")
    monkeypatch.setattr(room.time, "sleep", lambda _: file.unlink())
    with lease(file.parent, 60) as held:
        held.check()


def test_of_two_that_take_over_the_later_one_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = foreign(tmp_path / "run")
    sleeps = 0

    def rival(_: float) -> None:
        nonlocal sleeps
        sleeps += 1
        if sleeps == 4:  # three beats of silence, and now we took over
            (tmp_path / "theirs").write_text('{"token": "rival"}')
            (tmp_path / "theirs").replace(file)

    monkeypatch.setattr(room.time, "sleep", rival)
    with pytest.raises(UserError, match="no longer this training's"), lease(file.parent, 60):
        pass
    assert file.read_text() == '{"token": "rival"}'


def test_a_deleted_lease_is_a_lost_one(tmp_path: Path) -> None:
    with lease(tmp_path / "run", 60) as held:
        (tmp_path / "run" / "lease").unlink()
        with pytest.raises(UserError, match="its lease was deleted"):
            held.check()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match=r"run/lease cannot be written"), lease(tmp_path / "run"):
        pass
