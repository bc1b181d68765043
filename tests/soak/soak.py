"""The long tests, run by `make soak`: each prints its figures as it ends; any difference ends them with an exit code.

`kills`: a tiny study is killed at random moments until it was killed often enough; whenever it is done, its results
must be those of an undisturbed run. `slurm`: the whole demo on a Slurm cluster of this machine, polled as the executor
comes; its tables must be those of the demo without one.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / name) for name in ("workflow", "slurm")]

import clusterdemo  # noqa: E402
import kills  # noqa: E402
from study import CONFIG, Study  # noqa: E402

SHARE = 0.3
"""Of the undisturbed run's time, the longest that is waited for a kill: short enough to hit it early and late."""


def kill_at_random(folder, times, seed):
    # Long enough that most kills of a training find a checkpoint.
    training = {"tmanet": {**CONFIG["training"]["tmanet"], "iterations": 40, "checkpoint_every": 4}}
    studies = [Study(folder / name) for name in ("undisturbed", "killed")]
    for study in studies:
        study.folder.mkdir()
        study.configure(training=training)
    began = time.monotonic()
    run = studies[0].run()
    assert run.code == 0, run.output
    seconds = time.monotonic() - began
    print(f"An undisturbed run takes {seconds:.0f} s here; kills come after 0 to {SHARE * seconds:.0f} s.", flush=True)
    figures = kills.loop(studies[1], studies[0], times, SHARE * seconds, seed, lambda line: print(line, flush=True))
    return f"{figures}\n{(time.monotonic() - began) / 60:.0f} minutes."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["kills", "slurm"], help="kills, slurm; both where none is named")
    parser.add_argument("--kills", type=int, default=50, help="how often to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    parts = {
        "kills": lambda folder: kill_at_random(folder, given.kills, given.seed),
        "slurm": clusterdemo.compare,
    }
    for part in given.parts:
        if part not in parts:
            parser.error(f"there is no part '{part}': name {' or '.join(parts)}")
    for part in given.parts:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            print(f"\n== {part}\n{parts[part](Path(folder))}", flush=True)


if __name__ == "__main__":
    main()
