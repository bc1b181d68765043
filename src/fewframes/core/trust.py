"""Folders whose content is taken on trust: kept hashes, fetched weights, compiled code.

A group may write to them, as a laboratory's shared folders are meant; everybody may not.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fewframes.core.errors import UserError


def refuse_open(folder: str | Path, content: str) -> None:
    """Raise `UserError` where anybody may write to `folder`, for the `content` trusted there; a missing one passes."""
    here = Path(os.path.realpath(folder))
    try:
        mode = here.stat().st_mode
    except OSError:
        return
    if mode & stat.S_IWOTH:
        raise _refusal(here, content)


def refuse_others(folder: str | Path, content: str, mend: str) -> None:
    """As `refuse_open`, for what is run, not only read: also where the folder is another user's, or can be replaced.

    Anybody can replace what lies in a folder that all may write to, unless each may remove only what is their own there
    (the sticky bit, as /tmp has it). `mend` says how to choose another folder.
    """
    refuse_open(folder, content)
    here = Path(os.path.realpath(folder))
    for place in (here, *here.parents):
        try:
            status = place.stat()
        except OSError:
            continue
        if place == here and status.st_uid not in (0, os.geteuid()):
            raise UserError(f"{here} belongs to another user, and {content} there would be run: {mend}.")
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise _refusal(place, content)


def _refusal(place: Path, content: str) -> UserError:
    return UserError(
        f"Anybody may write to {place}, and {content} there would be trusted: take that right away "
        f"(`chmod o-w {place}`), or choose a folder elsewhere."
    )
