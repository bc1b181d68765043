"""Disks that fill up, or that are not to be written on."""

import os
import resource
import subprocess

import pytest


class SmallDisk:
    """A disk of its own, in memory: only root may mount one."""

    def __init__(self, folder, megabytes=64):
        self.folder = folder
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "none", folder],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted here ({done.stderr.strip()})")

    def fill(self, room=0):
        """Leave so many bytes, in pages of 4096."""
        ballast = self.folder / ".ballast"
        with ballast.open("wb") as file:
            try:
                while os.write(file.fileno(), bytes(1 << 20)):
                    pass
            except OSError:
                pass
        os.truncate(ballast, ballast.stat().st_size - room)

    def make_room(self):
        (self.folder / ".ballast").unlink()

    def forbid(self):
        """Let nobody write, root neither."""
        subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)

    def allow(self):
        subprocess.run(["mount", "-o", "remount,rw", self.folder], check=True)

    def close(self):
        subprocess.run(["umount", "--lazy", self.folder], check=True)


class LimitedFiles:
    """What everybody can have of a full disk: no file may grow beyond some size (`ulimit -f`)."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def fill(self, room=0):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    def make_room(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    close = make_room
