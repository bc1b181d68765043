"""A Slurm cluster of several nodes on this machine, its GPUs pretended: start it, submit to it, break it, stop it.

It needs Debian's packages `slurm-wlm` and `munge`, whose slurmd runs several times on one machine. All its files are in
one folder, and everything listens on free ports of the loopback device, so that clusters stand side by side.
"""

import contextlib
import getpass
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
FREEZER = Path("/sys/fs/cgroup/freezer")
"""Where there is this hierarchy, Slurm tracks a job's processes by it, as clusters do: then it signals a step's first
process alone, and kills all. Elsewhere it goes by process groups."""
GPUS = 2

# One GPU a node: of /dev/null, a character device that is there for everybody, Slurm takes but one.
# Jobs that are queued again wait for the lifetime of a credential, two minutes unless it is set.
CONFIGURATION = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
ProctrackType=proctrack/{tracking}
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=1,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
MinJobAge=3600
KillWait=5
NodeName=DEFAULT CPUs=16 RealMemory=256000
{nodes}
PartitionName=cpu Nodes={cpu_nodes} Default=YES MaxTime=60
PartitionName=gpu Nodes={gpu_nodes} MaxTime=60 PriorityTier=1
PartitionName=urgent Nodes={gpu_nodes} MaxTime=60 PriorityTier=10
"""


def missing():
    """What is not installed of what a cluster needs."""
    return [name for name in PROGRAMS if _program(name) is None]


class Cluster:
    """A cluster in a folder of its own: a partition `cpu`, a partition `gpu`, and `urgent`, which preempts `gpu`."""

    def __init__(self, folder):
        self.folder = folder
        self._daemons = {}
        self._port, *ports = _free_ports(2 + GPUS)
        # Named by their ports: nodes of clusters side by side share a hierarchy of cgroups.
        self._ports = dict(zip([f"cpu{ports[0]}", *(f"gpu{port}" for port in ports[1:])], ports, strict=True))
        self.cpu_nodes = [node for node in self._ports if node.startswith("cpu")]
        self.gpu_nodes = [node for node in self._ports if node.startswith("gpu")]

    def start(self):
        """Start every daemon, and wait until all nodes are idle."""
        for name in ("state", "log", "bin", *(f"spool/{node}" for node in self._ports)):
            (self.folder / name).mkdir(parents=True)
        self._configure()
        key, munge_socket = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = [f"--{kind}-file={self.folder}/munge.{kind}" for kind in ("log", "pid", "seed")]
        # Forced: to serve others than us, munged would want the folders above to be open to all.
        self._launch("munged", "--foreground", "--force", f"--socket={munge_socket}", f"--key-file={key}", *files)
        wait(munge_socket.exists, "munged's socket", 30)
        self._launch("slurmctld", "-D", "-c")
        for node in self._ports:
            self.start_node(node)
        wait(self._is_idle, "the nodes to be idle", 30)

    def stop(self):
        """End every job and daemon, and wait until they are gone."""
        for node in self._ports:
            self._end(node)
        for daemon in ("slurmctld", "munged"):
            self._end(daemon)

    def start_node(self, node):
        self._launch("slurmd", "-D", "-N", node, name=node)

    def crash(self, node):
        """As if a node lost its power: kill all that runs on it, and let the controller find out at once."""
        self._end(node)
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=crash")

    def environment(self):
        """What a shell on this cluster's login node has more, and a `PATH` to put before others."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": str(self.folder / "bin")}

    def run(self, *command, check=True):
        """The output of a command on the login node."""
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def jobs(self, folder, rule=""):
        """The jobs that were submitted in a folder, for one rule or for all, in their order, as scontrol tells them."""
        lines = self.run("scontrol", "--oneliner", "show", "job").splitlines()
        jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
        return [
            job
            for job in jobs
            if job.get("WorkDir") == str(folder) and job.get("Comment", "").startswith(f"rule_{rule}")
        ]

    def _configure(self):
        host = socket.gethostname().split(".")[0]
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
            + (" Gres=gpu:1" if node in self.gpu_nodes else "")
            for node, port in self._ports.items()
        ]
        text = CONFIGURATION.format(
            host=host,
            port=self._port,
            user=getpass.getuser(),
            folder=self.folder,
            tracking="cgroup" if os.access(FREEZER, os.W_OK) else "pgid",
            nodes="\n".join(nodes),
            cpu_nodes=",".join(self.cpu_nodes),
            gpu_nodes=",".join(self.gpu_nodes),
        )
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text(f"NodeName={','.join(self.gpu_nodes)} Name=gpu File=/dev/null\n")
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        # Snakemake takes most SLURM_ variables from a job before it calls srun there; the configuration of a true
        # cluster lies where srun looks anyway.
        srun = self.folder / "bin/srun"
        conf = shlex.quote(f"{self.folder}/slurm.conf")
        srun.write_text(f'#!/bin/sh\nexport SLURM_CONF={conf}\nexec {_program("srun")} "$@"\n')
        srun.chmod(0o755)

    def _environment(self):
        ours = self.environment()
        return {**os.environ, **ours, "PATH": f"{ours['PATH']}{os.pathsep}{os.environ['PATH']}"}

    def _is_idle(self):
        states = self.run("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
        return len(states) >= len(self._ports) and set(states) == {"idle"}

    def _launch(self, program, *arguments, name=None):
        with (self.folder / f"log/{name or program}.out").open("ab") as out:
            self._daemons[name or program] = subprocess.Popen(
                [_program(program), *arguments], env=self._environment(), stdout=out, stderr=out, start_new_session=True
            )

    def _end(self, name):
        """End a daemon, and a node's jobs, which would outlive it."""
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(signal.SIGKILL if name in self._ports else signal.SIGTERM)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        while left := _of_node(name):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        wait(lambda: _emptied(FREEZER / f"slurm_{name}"), f"the last processes of {name}")


def wait(until, what, seconds=300):
    """Wait until `until()` is true; fail where that takes too long."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.02)


def _program(name):
    return shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")


def _free_ports(count):
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _of_node(node):
    """The processes of a node's jobs, first the ones of Slurm that would tell the controller how they ended."""
    watching, jobs = set(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"SLURMD_NODENAME={node}".encode() not in (process / "environ").read_bytes().split(b"\0"):
                continue
            jobs.append(int(process.name))
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if Path(f"/proc/{parent}/cmdline").read_text().startswith("slurmstepd"):
                watching.add(int(parent))
    return [*watching, *jobs]


def _emptied(group):
    """Whether a cgroup and those below it are gone, after an attempt to remove them."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    return not group.exists()
