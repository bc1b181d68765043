"""The whole demo on a Slurm cluster of this machine, asked after its jobs as seldom as the executor does it unasked."""

import subprocess
import sys
import time
from collections import Counter

import yaml
from cluster import Cluster, missing
from slurmstudy import PROFILE, SlurmStudy
from study import REPOSITORY, environment

SECONDS = 3 * 3600
"""Within which the demo must be done; on two cores it takes a tenth of that."""


class Demo(SlurmStudy):
    """The demo's config as it stands, but for the GPUs, which are none."""

    def __init__(self, folder, cluster):
        super().__init__(folder, cluster)
        folder.mkdir()
        self.results = folder / "results/toycity"
        config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
        (folder / "study.yaml").write_text(yaml.safe_dump(config | {"allow_cpu": True}))

    def write_profile(self):
        """The shipped profile, but for the site's maximum."""
        profile = yaml.safe_load(PROFILE.read_text())
        profile["__variables__"]["longest"] = 60
        (self.folder / "cluster").mkdir()
        (self.folder / "cluster/config.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))

    def command(self, profile, *options):
        common = ["--snakefile", REPOSITORY / "Snakefile", "--directory", self.folder, "--configfile", "study.yaml"]
        words = [sys.executable, "-m", "snakemake", *common, "--workflow-profile", profile, *options]
        return [str(word) for word in words]

    def run(self, environment, profile, *options):
        """Seconds that it took."""
        began = time.monotonic()
        with (self.folder / "head.log").open("wb") as log:
            done = subprocess.run(
                self.command(profile, *options),
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
            )
        assert done.returncode == 0, (self.folder / "head.log").read_text()
        return time.monotonic() - began

    def made(self):
        """Tables, models and matrices, by name."""
        patterns = ("tables/*", "runs/*/*/*/model.safetensors", "runs/*/*/*/confusion.npz")
        paths = [path for pattern in patterns for path in self.results.glob(pattern)]
        return {str(path.relative_to(self.results)): path.read_bytes() for path in paths}


def compare(folder):
    """Run it here and there; raises `AssertionError` where anything that was made differs."""
    assert not missing(), f"no Slurm here: {', '.join(missing())} are missing (Debian's packages slurm-wlm and munge)"
    cluster = Cluster(folder / "slurm")
    cluster.folder.mkdir()
    here, there = Demo(folder / "here", cluster), Demo(folder / "there", cluster)
    alone = here.run(environment(), REPOSITORY / "workflow/profiles/default", "--cores", "2")
    try:
        cluster.start()
        there.write_profile()
        seconds = there.run(there.environment(), there.folder / "cluster")
        jobs = cluster.jobs(there.folder)
    finally:
        there.close()
        cluster.stop()
    one, other = here.made(), there.made()
    different = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    assert not different, f"made otherwise on the cluster: {different}"
    rules = Counter(job["Comment"].split("_")[1] for job in jobs)
    states = Counter(job["JobState"] for job in jobs)
    return (
        f"{len(one)} tables, models and matrices are equal, byte by byte, to those made without a cluster.\n"
        f"{len(jobs)} jobs ({', '.join(f'{count} {rule}' for rule, count in rules.most_common())}; "
        f"{', '.join(f'{count} {state}' for state, count in states.items())}).\n"
        f"{seconds / 60:.0f} minutes on the cluster, {alone / 60:.0f} without."
    )
