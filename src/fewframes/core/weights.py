"""Files of weights: that they are there, and the very ones that were meant."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fewframes.core.errors import UserError


def check_weights(path: str | Path, sha256: str) -> None:
    """Raise `UserError` where the file is absent, or is not of this SHA-256 (hexadecimal; empty: any will do)."""
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest() if sha256 else ""
    except OSError as error:
        raise UserError(f"The weights {path} cannot be read ({error.strerror}): correct their path.") from None
    if found != sha256.lower():
        raise UserError(
            f"The weights {path} have the SHA-256 {found[:12]}..., not {sha256[:12].lower()}...: download them again, "
            "or correct the checksum in the config."
        )
