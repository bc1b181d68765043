"""The paper's claims as the report shows them: by outcome, each with its checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fewframes.core.errors import UserError
from fewframes.reporting.claims import FAILED, HELD, OPEN
from fewframes.reporting.site.tabular import Shown

OUTCOMES = (HELD, FAILED, OPEN)
_CLAIM = ("Claim", "Section", "What it says", "Outcome")
_CHECK = ("Check", "Paper", "Here", "Check's outcome")


@dataclass(frozen=True)
class Check:
    """One comparison of a claim, as it is printed."""

    asked: str
    paper: str
    here: str
    outcome: str


@dataclass(frozen=True)
class Claim:
    """One claim; `why` says why it was not tested, where it was not."""

    id: str
    section: str
    says: str
    outcome: str
    why: str
    checks: Sequence[Check]


def claims_of(table: Shown) -> dict[str, list[Claim]]:
    """The claims of a printed table by outcome, in its order; raises `UserError` where it is no table of claims."""
    claims: dict[str, list[Claim]] = {outcome: [] for outcome in OUTCOMES}
    columns = [column.heading for column in table.columns]
    if set(columns) != {*_CLAIM, *_CHECK}:
        raise UserError(f"'{table.title}' is no table of claims: make it again with `snakemake`.")
    checks: list[Check] = []
    for cells in table.rows:
        row = {name: cell.text for name, cell in zip(columns, cells, strict=True)}
        id_, section, says, outcome = (row[name] for name in _CLAIM)
        # Further checks of a claim stand below it, without its words.
        if id_:
            checks = []
            bare = next((name for name in OUTCOMES if outcome.startswith(name)), OPEN)
            why = outcome.removeprefix(bare).strip(" ()")
            claims[bare].append(Claim(id_, section, says, bare, why, checks))
        if row["Check"]:
            checks.append(Check(*(row[name] for name in _CHECK)))
    return claims


def counted(claims: dict[str, list[Claim]]) -> Sequence[tuple[str, int]]:
    """How many claims came to which outcome."""
    return [(outcome, len(listed)) for outcome, listed in claims.items()]
