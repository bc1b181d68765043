import os
import shutil
import signal
import time

import pytest

from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes
from fewframes.datasets.preparing import LEDGER, Ledger, Task, prepare


def double(task, folder, prepared):
    """Write a number twice as large; a negative one is a fault."""
    number = int((folder / task.inputs[0]).read_text()) * task.recipe["times"]
    if number < 0:
        raise UserError(f"{folder / task.inputs[0]} is negative: give a positive number.")
    target = prepared / task.outputs[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(str(number))
    return {"number": number, "made": target.stat().st_mtime_ns}


def dying(task, folder, prepared):
    """A task whose process is killed, once the other process has finished all that is not in its chunk."""
    others = [prepared / f"out/{i}.txt" for i in range(7, 19)]
    while not all(path.exists() for path in others):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def task(name, times=2):
    return Task(name, double, (f"{name}.txt",), (f"out/{name}.txt",), {"times": times})


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(20):
        (tmp_path / f"in/{i}.txt").write_text(str(i))
    return tmp_path


def run(place, tasks, workers=1, folder="in"):
    prepare(tasks, place / folder, place / "prepared", ContentHashes(place / "hashes", "t"), workers)
    ledger = Ledger(place / "prepared")
    return {t.name: ledger.facts(t.name) for t in tasks}


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_once_and_found_again(place, workers):
    tasks = [task(str(i)) for i in range(20)]
    first = run(place, tasks, workers)
    assert [first[str(i)]["number"] for i in range(20)] == [2 * i for i in range(20)]
    assert run(place, tasks) == first


def test_only_what_changed_is_done_again(place):
    tasks = [task(str(i)) for i in range(4)]
    first = run(place, tasks)
    (place / "in/1.txt").write_text("50")
    (place / "prepared/out/2.txt").unlink()
    second = run(place, [task("0"), task("1"), task("2"), task("3", times=3)])
    assert [name for name in first if second[name] != first[name]] == ["1", "2", "3"]
    assert (second["1"]["number"], second["3"]["number"]) == (100, 9)


def test_a_dataset_copied_without_times_is_prepared_already(place):
    tasks = [task(str(i)) for i in range(3)]
    first = run(place, tasks)
    shutil.copytree(place / "in", place / "copy", copy_function=shutil.copyfile)
    for path in (place / "copy").iterdir():
        os.utime(path, (1, 1))
    assert run(place, tasks, folder="copy") == first


def test_all_faults_are_said_and_nothing_finished_is_lost(place, capsys):
    (place / "in/1.txt").write_text("-1")
    (place / "in/3.txt").unlink()
    tasks = [task(str(i)) for i in range(5)]
    with pytest.raises(UserError, match=r"2 of 5 files to prepare are faulty, the first: .*3\.txt does not exist"):
        run(place, tasks)
    said = capsys.readouterr().err
    assert "1.txt is negative" in said and "prepared 3, found 0 as they were, 2 faulty." in said
    ledger = Ledger(place / "prepared")
    assert ledger.facts("4")["number"] == 8
    with pytest.raises(UserError, match="1 is not prepared"):
        ledger.facts("1")
    # What was made before is not taken for made when doing it again has failed: it may be half overwritten.
    (place / "in/4.txt").write_text("-4")
    with pytest.raises(UserError):
        run(place, tasks)
    (place / "in/4.txt").write_text("4")
    with pytest.raises(UserError, match="2 of 5"):
        run(place, tasks)
    assert "prepared 1, found 2 as they were, 2 faulty." in capsys.readouterr().err
    # A task that is no longer listed is forgotten: its source has gone.
    run(place, [task("0")])
    assert (place / "prepared" / LEDGER).read_text().count("\n") == 2


def test_a_process_that_is_killed_loses_nothing_finished(place):
    tasks = [task(str(i)) for i in range(19)]
    with pytest.raises(UserError, match="was killed, as happens where memory runs out"):
        run(place, [Task("dies", dying), *tasks], workers=2)
    ledger = Ledger(place / "prepared")
    assert all(ledger.fingerprint(t.name) for t in tasks[7:15])  # of the next chunk, whose result is in for certain
    with pytest.raises(UserError, match="dies is not prepared"):
        ledger.facts("dies")
