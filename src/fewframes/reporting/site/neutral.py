"""Settings as others may see them: without credentials, and of a path on this machine its last part alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fewframes.core.shown import without_credentials

_PATH = re.compile(r"(?:file:|[\w.@-]+:(?=/(?!/)))?(?:/|~[\w.-]*[/\\]|\.\.[/\\]|[A-Za-z]:[/\\]|\\\\)[^\n]*")
"""A whole string that is a path from a root, a home or a folder above, of this machine or (`host:/…`) of another."""
_IN_TEXT = re.compile(r"(?<![\w:/.~@-])(?:file:/{0,2}|[\w.@-]+:(?!//)|~[\w.-]*)?(?:[/\\][\w.@+-]+){2,}[/\\]?")
"""Such a path of two parts or more within a sentence; what follows `://` is a web address."""
_RELATIVE = re.compile(r"(?<![\w:/])//[^/\s]\S*")
"""A web address without its scheme."""


def neutral(value: Any) -> Any:
    """The value, mappings and lists part by part, with every such path in its strings reduced to `…/<last part>`."""
    if isinstance(value, Mapping):
        return {neutral(key): neutral(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [neutral(part) for part in value]
    if not isinstance(value, str):
        return value
    text = _RELATIVE.sub(_without_keys, without_credentials(value))
    return _last(text) if _PATH.fullmatch(text) else _IN_TEXT.sub(lambda match: _last(match[0]), text)


def _without_keys(address: re.Match[str]) -> str:
    return without_credentials(f"https:{address[0]}").removeprefix("https:")


def _last(path: str) -> str:
    parts = [part for part in re.split(r"[/\\]", path) if part]
    return f"…/{parts[-1] if parts else ''}"
