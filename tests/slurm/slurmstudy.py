"""A tiny study whose steps run on a Slurm cluster by the profile that is shipped."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from cluster import wait
from study import CONFIG, REPOSITORY, Study, environment

HEAD = Path(__file__).with_name("head.py")
PROFILE = REPOSITORY / "workflow/profiles/slurm/config.yaml"
EXPERIMENTS = ["n1", "b3", "b5"]
"""So many trainings that there are not enough GPUs for all."""
DISTURBED = Path("results/toy/runs/tmanet/n1/draw0-seed0")
"""The run that tests disturb."""


class SlurmStudy(Study):
    """A study on a cluster, of at most ten jobs."""

    def __init__(self, folder, cluster):
        super().__init__(folder)
        self.cluster = cluster
        self._heads = []

    def close(self):
        """Leave neither heads nor jobs behind."""
        for head in self._heads:
            if head.poll() is None:
                os.killpg(head.pid, signal.SIGKILL)
                head.wait()
        for job in self.cluster.jobs(self.folder):
            if job["JobState"] in ("PENDING", "RUNNING"):
                self.cluster.run("scancel", job["JobId"])

    def configure(self, **changes):
        training = {"tmanet": {**CONFIG["training"]["tmanet"], "iterations": 60, "checkpoint_every": 2}}
        # The cluster's GPUs are none.
        chosen = {"experiments": EXPERIMENTS, "quality": None, "shards": 1, "training": training, "allow_cpu": True}
        super().configure(**{**chosen, **changes})

    def write_profile(self, **site):
        """The shipped profile, but for its site's block and for waits that one machine does not need."""
        profile = yaml.safe_load(PROFILE.read_text())
        profile["__variables__"] |= {"longest": 60, **site}
        profile |= {"latency-wait": 5, "slurm-init-seconds-before-status-checks": 1}
        folder = self.folder / "cluster"
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))

    def command(self, *targets, options=(), cores=2):
        common = ["--snakefile", REPOSITORY / "Snakefile", "--directory", self.folder]
        settings = ["--workflow-profile", self.folder / "cluster", "--configfile", "study.yaml"]
        return [str(word) for word in [sys.executable, HEAD, *common, *settings, *options, "--", *targets]]

    def start(self, *targets, options=()):
        with (self.folder / "head.log").open("ab") as out:
            head = subprocess.Popen(
                self.command(*targets, options=options),
                cwd=self.folder,
                env=self.environment(),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._heads.append(head)
        return head

    def finish(self, head, seconds=240):
        """Wait for a head to end well, and give back all that was printed in this folder."""
        code = head.wait(seconds)
        output = (self.folder / "head.log").read_text()
        assert code == 0, output
        return output

    def environment(self):
        """That of a shell on the login node."""
        inherited, ours = environment(), self.cluster.environment()
        return {**inherited, **ours, "PATH": f"{ours['PATH']}{os.pathsep}{inherited['PATH']}"}

    def assert_gone_on(self, finished):
        """The disturbed training went on from its checkpoint, and all is as after an undisturbed run."""
        assert "resuming at iteration" in self.log()
        self.assert_equal_to(finished)

    def assert_equal_to(self, finished):
        """The tables are those of an undisturbed run, byte by byte, and nothing that was finished is new."""
        models = self.models()
        assert {name for name, when in finished.models().items() if models[name] != when} == {"n1"}
        assert self.label_files() == finished.label_files()
        assert self.tables() == finished.tables() != {}

    def tables(self):
        return {path.name: path.read_bytes() for path in (self.results / "tables").iterdir()}

    def trainers(self):
        """The processes that train the disturbed run."""
        return [pid for pid, words in _commands(self.folder) if words[2:3] == ["train"] and str(DISTURBED) in words]

    def held(self, head=None):
        """Wait until the disturbed training has a checkpoint, suspend it there, and give back its process and job."""

        def begun():
            assert head is None or head.poll() is None, (self.folder / "head.log").read_text()
            return (self.folder / DISTURBED / "checkpoints/last.pt").exists() and self.trainers()

        wait(begun, "the training's first checkpoint")
        (pid,) = self.trainers()
        os.kill(pid, signal.SIGSTOP)
        (job,) = [job for job in self.cluster.jobs(self.folder, "train") if job["JobState"] == "RUNNING"]
        return pid, job

    def log(self):
        """What the last try of the disturbed training said."""
        return (self.folder / "results/toy/logs/train" / f"{Path(*DISTURBED.parts[3:])}.log").read_text()


def is_signalled(pid, number):
    """Whether a suspended process was sent a signal: it waits for it, or somebody had the process go on."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return True
    fields = dict(line.split(":\t", 1) for line in lines)
    waiting = int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)
    return bool(waiting >> (number - 1) & 1) or not fields["State"].startswith("T")


def go_on(pid):
    """Have a suspended process go on, where nobody did so before."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _commands(folder):
    """The Python programs that run in a folder, as words."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")) == folder:
                yield int(process.name), (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
