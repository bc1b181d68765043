"""Submissions to Slurm: jobs, and the further tries of those that are stopped by the time that the profile asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewframes.core.errors import UserError
from fewframes.core.files import read_yaml
from fewframes.forecast.schedule import Job

PROFILE = Path("workflow") / "profiles" / "slurm"
_GROWING = re.compile(r"\?minutes\((\d+)\)")
"""How the profile asks for so many minutes at the first try, twice as many at the second, up to `longest`."""


@dataclass(frozen=True)
class Limits:
    """Minutes that jobs of the rules may run: in all `longest`; `asked` as the profile writes them, by rule."""

    longest: int
    asked: Mapping[str, Any]
    otherwise: Any

    def minutes(self, rule: str, attempt: int) -> float:
        """Minutes that a rule's job gets at an attempt, from 1."""
        asked = self.asked.get(rule, self.otherwise)
        if growing := _GROWING.fullmatch(str(asked)):
            return min(int(growing[1]) * attempt, self.longest)
        return min(asked, self.longest) if isinstance(asked, int) and asked > 0 else self.longest

    def tries(self, rule: str, seconds: float) -> int:
        """How often a job of so many seconds is submitted, each time going on where it was stopped."""
        attempt, left = 1, seconds - 60 * self.minutes(rule, 1)
        while left > 0:
            attempt += 1
            left -= 60 * self.minutes(rule, attempt)
        return attempt

    def submissions(self, jobs: Iterable[Job], seconds: Mapping[str, float]) -> int:
        """How often all the jobs are submitted together."""
        return sum(self.tries(job.rule, seconds[job.name]) for job in jobs)


def read_limits(repository: Path) -> Limits:
    """The limits of the profile in `repository`; raises `UserError` where it cannot be read."""
    path = repository / PROFILE / "config.yaml"
    # The values of the site's block are plain; what follows it is text to YTE, and YAML all the same.
    profile = read_yaml(path)
    try:
        asked = {rule: block["runtime"] for rule, block in profile["set-resources"].items() if "runtime" in block}
        return Limits(int(profile["__variables__"]["longest"]), asked, profile["default-resources"].get("runtime"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no profile that can be read ({error!r}): put it back as it was.") from error
