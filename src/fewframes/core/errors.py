"""The one exception for what a user can cause and mend."""

from __future__ import annotations

from fewframes.core.shown import without_credentials


class UserError(Exception):
    """A fault the user can mend: one sentence that names the file or key, and the mend.

    The command line prints it without a traceback and exits with code 2. Credentials of a URL in it are left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))
