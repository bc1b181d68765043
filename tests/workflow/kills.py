"""`kill -9` at random moments, again and again, until a study is done; and what must be true then."""

import hashlib
import random
import re
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, field

from study import Run, end

EXPENSIVE = {"toycity", "propagate", "refine", "train", "evaluate"}
"""What must not be done twice; the rest is cheap, and checkpoints run whenever one above them did."""
_OF_ITS_TIME = {"logs", "benchmarks", "hashes", "measured", "tensorboard"}
"""Folders whose files tell when or by whom something was made, or are known by it."""
_OF_THIS_COPY = {"states.csv", "report.html"}
"""Files that tell of files' times, or of the commit of Fewframes and what changed since."""
_LEFT = re.compile(r"\..*|lease|checkpoints|.*\.part")
"""What unfinished work looks like."""
_IN_VAIN = 3
"""So many kills in a row before anything is done, and the next may come later: the machine is slower than it was."""


@dataclass
class Figures:
    """What a loop of kills came to."""

    kills: int = 0
    rounds: int = 0
    hit: Counter = field(default_factory=Counter)
    """Kills by the rule that ran."""
    resumed: int = 0
    """Trainings that went on from a checkpoint."""
    unnoted: int = 0
    """Trainings done again since they ended, but were killed before Snakemake had noted it."""
    left: Counter = field(default_factory=Counter)
    """Half-written files that nobody reads, by kind."""

    def __str__(self):
        hit = ", ".join(f"{rule} {count}" for rule, count in self.hit.most_common())
        left = ", ".join(f"{count} {kind}" for kind, count in sorted(self.left.items())) or "none"
        return (
            f"{self.kills} kills in {self.rounds} rounds, each round's results equal to the undisturbed ones.\n"
            f"Running when killed: {hit}.\n"
            f"Trainings that went on from a checkpoint: {self.resumed}; that were done again since they were killed \n"
            f"between their last word and Snakemake's note of it: {self.unnoted}. Half-written files left: {left}."
        )


def loop(study, undisturbed, kills, longest, seed, say=lambda line: None):
    """Run `study` from nothing, killed at random moments of up to `longest` seconds, until it is done; then anew.

    After so many `kills` the last round goes on to its end. Raises `AssertionError` where a round's results are not
    those of the study `undisturbed`, where something finished was done twice, or something unfinished is left.
    """
    killer, expected = _Killer(kills, longest, seed, say), contents(undisturbed)
    figures = killer.figures
    while figures.kills < kills or not figures.rounds:
        for name in ("city", "city-truth", "results", ".snakemake"):
            shutil.rmtree(study.folder / name, ignore_errors=True)
        killer.one_round(study)
        say(f"round {figures.rounds} is done after {figures.kills} kills")
        found = contents(study)
        different = {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
        assert not different, f"round {figures.rounds} differs in {sorted(different)}"
        study.assert_true_inputs()
    return figures


class _Killer:
    """Starts a study and kills it, as often as is left to do."""

    def __init__(self, kills, longest, seed, say):
        self.figures = Figures()
        self._kills, self._longest, self._say = kills, longest, say
        self._moments = random.Random(seed)
        self._vain = 0

    def one_round(self, study):
        """Until the study is done."""
        done = _Done()
        while not self._is_done(study, done):
            study.unlock()
        self.figures.rounds += 1
        self.figures.unnoted += done.unnoted
        names = [path.name for path in study.folder.rglob("*") if ".snakemake" not in path.parts]
        left = Counter(
            "*" + name[name.rfind(".") :] if "." in name else name for name in names if _LEFT.fullmatch(name)
        )
        assert not {"lease", "checkpoints", "*.part"} & left.keys(), left
        self.figures.left += left

    def _is_done(self, study, done):
        process, figures = study.start(), self.figures
        try:
            moment = self._moments.uniform(0, self._longest)
            output, _ = process.communicate(timeout=moment if figures.kills < self._kills else None)
        except subprocess.TimeoutExpired:
            output = end(process)
            figures.kills += 1
            run = Run(process.returncode, output)
            running = [rule for rule, _ in sorted(set(run.jobs) - run.finished)] or ["between jobs"]
            figures.hit.update(running)
            self._say(f"kill {figures.kills} after {moment:.0f} s: {', '.join(running)}")
            self._vain = 0 if "Finished jobid" in output or "resuming at" in output else self._vain + 1
            if self._vain == _IN_VAIN:
                self._longest, self._vain = 1.5 * self._longest, 0
        figures.resumed += output.count("resuming at iteration")
        done.add(study, output)
        assert process.returncode in (0, -signal.SIGKILL), output
        return process.returncode == 0


class _Done:
    """What was finished so far, and when: none of it may be made anew."""

    def __init__(self):
        self._labels = {}
        self._models = {}
        self._finished = set()
        self.unnoted = 0

    def add(self, study, output):
        labels = {path: path.stat().st_mtime_ns for path in study.results.glob("*/*/labels/[!.]*.h5")}
        anew = [path for path, when in self._labels.items() if labels.get(path) != when]
        assert not anew, f"labels made anew: {anew}\n{output}"
        finished = {job for job in Run(None, output).finished if job[0] in EXPENSIVE}
        twice = self._finished & finished
        assert not twice, f"done twice: {twice}\n{output}"
        models = study.models()
        self.unnoted += sum(models.get(name) != when for name, when in self._models.items())
        self._labels, self._models = labels, models
        self._finished |= finished


def contents(study):
    """The content of every file of the dataset and the results, by name, but for what tells of time."""
    found = {}
    for top in ("city", "city-truth", "results"):
        for path in (study.folder / top).rglob("*"):
            parts = path.relative_to(study.folder).parts
            if not path.is_file() or path.name.startswith(".") or _OF_ITS_TIME & set(parts):
                continue
            if path.suffix == ".ran" or path.name in _OF_THIS_COPY:
                continue
            data = path.read_bytes()
            if "shards" in parts:  # its last column is the state, which is of files' times
                data = b"\n".join(line.rpartition(b",")[0] for line in data.splitlines())
            found["/".join(parts)] = hashlib.sha256(data).hexdigest()
    return found
