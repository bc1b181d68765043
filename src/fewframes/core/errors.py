"""The one exception for what a user can cause and mend."""

from __future__ import annotations


class UserError(Exception):
    """A fault the user can mend: one sentence that names the file or key, and the mend.

    The command line prints it without a traceback and exits with code 2.
    """
