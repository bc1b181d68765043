"""Settings as others may see them: without credentials, and of a path on this machine its last part alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fewframes.core.shown import without_credentials

_PATH = re.compile(r"(?:/|~[\w.-]*[/\\]|\.\.[/\\]|[A-Za-z]:[/\\]|\\\\)[^\n]*")
"""A whole string that is a path from a root, a home or a folder above."""
_IN_TEXT = re.compile(r"(?<![\w:/.~])(?:~[\w.-]*|[A-Za-z]:)?(?:[/\\][\w.@+-]+){2,}[/\\]?")
"""Such a path of two parts or more within a sentence; what follows a colon or another slash is a web address."""


def neutral(value: Any) -> Any:
    """The value, mappings and lists part by part, with every such path in its strings reduced to `…/<last part>`."""
    if isinstance(value, Mapping):
        return {neutral(key): neutral(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [neutral(part) for part in value]
    if not isinstance(value, str):
        return value
    if _PATH.fullmatch(value):
        return _last(value)
    return _IN_TEXT.sub(lambda match: _last(match[0]), without_credentials(value))


def _last(path: str) -> str:
    parts = [part for part in re.split(r"[/\\]", path) if part]
    return f"…/{parts[-1] if parts else ''}"
