"""The right to train into a folder, held by one process at a time and renewed while it lives.

The holder keeps a file `lease` in the folder and changes a counter in it at every beat. Whoever finds the file
judges the holder by its process where that can be asked, else by whether the content still changes: never by
times, since the clocks of a cluster's nodes differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fewframes.core.errors import UserError
from fewframes.core.files import disk_faults_named
from fewframes.core.progress import say

_NAME = "lease"
_BEATS = 3
"""Beats without a change after which a holder counts as dead."""
_SETTLE = 0.5
"""Seconds after a take-over in which a rival that judged at the same moment has taken over too, or given up."""


class Lease:
    """A held lease."""

    def __init__(self, path: Path, handle: int, token: str) -> None:
        self.path = path
        self._handle = handle
        self._token = token
        self._beats = 0
        self.renew()

    def renew(self) -> None:
        """Change the content.

        It is rewritten in place, through the file that was made at the start: had somebody put a lease of
        their own there meanwhile, a rename would destroy it. The length never changes, so no read is cut short.
        """
        self._beats += 1
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "place": _place(), "token": self._token}
        os.pwrite(self._handle, json.dumps({**holder, "beats": f"{self._beats:012}"}).encode(), 0)
        os.fsync(self._handle)

    def check(self) -> None:
        """Raise `UserError` where the lease is no longer this process's: then nothing more may be written."""
        if not self._is_own():
            raise UserError(
                f"{self.path.parent} is no longer this training's (another took it over while this one was "
                "suspended, or its lease was deleted): let the other finish, or run `snakemake` again."
            )

    def give_back(self) -> None:
        """Delete the lease, and the folder if nothing else is in it."""
        with contextlib.suppress(OSError):  # the folder is not empty, or the disk is gone
            os.close(self._handle)
            if self._is_own():
                self.path.unlink()
                self.path.parent.rmdir()

    def _is_own(self) -> bool:
        try:
            return _holder(_content(self.path)).get("token") == self._token
        except OSError:  # on NFS, that of a file just replaced
            return False


@contextlib.contextmanager
def lease(folder: str | Path, beat: float = 5.0) -> Iterator[Lease]:
    """Hold the lease of `folder` (made where there is none) and renew it every `beat` seconds until left.

    A lease whose holder is dead is taken over: at once where its process was of this machine, else after its
    content stood still for three beats. Raises `UserError` where the holder is alive, or the folder cannot be
    written. All heads of one study must agree on `beat`.
    """
    path = Path(folder) / _NAME
    with disk_faults_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _take(path, beat)
    ended = threading.Event()

    def keep_renewing() -> None:
        while not ended.wait(beat):
            with contextlib.suppress(OSError):  # the disk may be back at the next beat; `check` finds out a loss
                held.renew()

    thread = threading.Thread(target=keep_renewing, name=_NAME, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        ended.set()
        thread.join()  # it must not write once the handle is closed
        held.give_back()


def trained_into(folders: Iterable[str | Path], beat: float = 5.0) -> list[Path]:
    """Those of the folders that a living process holds the lease of; looking takes three beats where one is elsewhere.

    A lease whose holder cannot be asked is watched; all such are watched at once. `beat` is what the holders hold to.
    """
    left = {path: content for f in folders if (content := _content(path := Path(f) / _NAME)) is not None}
    here = {path for path, content in left.items() if _holder(content).get("place") == _place()}
    alive = {path for path in here if _runs(_holder(left[path])["pid"])}
    if elsewhere := left.keys() - here:
        say(f"{len(elsewhere)} leases are of other machines: watching for {_BEATS * beat:.0f} s whether they live.")
        time.sleep(_BEATS * beat)
        alive |= {path for path in elsewhere if _content(path) not in (None, left[path])}
    return [path.parent for path in sorted(alive)]


def _take(path: Path, beat: float) -> Lease:
    token = secrets.token_hex(8)
    while True:
        with contextlib.suppress(FileExistsError):
            return _made(path, path, token)
        left = _content(path)
        if left is None or not _is_dead(path, left, beat):
            continue  # its holder has just given it back
        aside = path.with_name(f".{_NAME}.{token}")
        held = _made(path, aside, token)
        aside.replace(path)
        time.sleep(_SETTLE)
        held.check()
        return held


def _made(path: Path, place: Path, token: str) -> Lease:
    """A lease for `path` in a new file at `place`, which is gone again where the disk is full."""
    handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return Lease(path, handle, token)
    except OSError:
        os.close(handle)
        place.unlink()
        raise


def _is_dead(path: Path, left: bytes, beat: float) -> bool:
    """Whether the holder of the lease with the content `left` is dead; not, where the file went away meanwhile.

    Raises `UserError` where it is alive.
    """
    holder = _holder(left)
    name = f"process {holder.get('pid', 'of unknown number')} on host {holder.get('host', 'unknown')}"
    if holder.get("place") == _place() and not _runs(holder["pid"]):
        say(f"{path.parent} was left by {name}, which is gone: taking over.")
        return True
    say(f"{path.parent} has a lease of {name}: watching for {_BEATS * beat:.0f} s whether it is alive.")
    for _ in range(_BEATS):
        time.sleep(beat)
        now = _content(path)
        if now is None:
            return False
        if now != left:
            raise UserError(f"{path.parent} is being trained by {name}: wait for it, or stop it first.")
    say(f"{name} is silent: taking over.")
    return True


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def _place() -> str:
    """Equal where process numbers mean the same processes: host names repeat, in containers above all."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # Linux alone has these
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _content(path: Path) -> bytes | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _holder(content: bytes | None) -> dict[str, Any]:
    """What a lease says; nothing where its writer was killed before the first word."""
    try:
        holder = json.loads(content or b"{}")
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}
