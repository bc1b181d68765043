"""The paper's claims, each with the comparisons that test it, and what our runs say: held, did not hold, or neither.

A claim is YAML: where the paper makes it, what it says in our words, and comparisons of two experiments, each with the
bounds between which the difference should lie. A bound is met, or broken, where the whole interval lies on one side of
it (`verdicts`); where it lies across, or too few runs are there, nothing is established.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewframes.core.errors import UserError
from fewframes.core.files import read_yaml, write_csv, write_text
from fewframes.core.labels import ClassTable
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.costs import read_cost
from fewframes.reporting.printing import (
    GAP,
    MINUS,
    Column,
    Part,
    difference_text,
    for_csv,
    html,
    signed,
    table_of,
    words,
)
from fewframes.reporting.statistics import Grid
from fewframes.reporting.verdicts import LEAST_RUNS, LEVEL, Arms, Comparison

HELD, FAILED, OPEN = "held", "did not hold", "not established"
"""What can come of a claim."""

_CLAIM = {"id", "section", "claim"}
_CLAIM_MAY = {"dataset", "checks", "untested"}
_CHECK = {"arm", "against"}
_CHECK_MAY = {"network", "measure", "above", "below", "paper"}
_MEASURES = ("miou", "refined classes", "hours")


@dataclass(frozen=True)
class Check:
    """A comparison: the difference of `arm` and `against` should lie above one bound, below another, or both.

    `measure`: mIoU in percentage points (`miou`), that of the class table's refined classes alone (`refined classes`),
    or the arm's hours of annotation in percent of the other's (`hours`). `paper` is the paper's own value.
    """

    arm: str
    against: str
    network: str = "tmanet"
    measure: str = "miou"
    above: float | None = None
    below: float | None = None
    paper: float | None = None


@dataclass(frozen=True)
class Claim:
    """One claim of the paper; `untested` says why no comparison tests it.

    `dataset` is the only one it is about, and those whose names begin with it and a hyphen (`idd-paper`).
    """

    id: str
    section: str
    claim: str
    checks: tuple[Check, ...] = ()
    dataset: str = ""
    untested: str = ""

    def is_of(self, dataset: str) -> bool:
        """Whether it is said of a dataset of this name."""
        return not self.dataset or f"{dataset}-".startswith(f"{self.dataset}-")


@dataclass(frozen=True)
class Finding:
    """What our runs say of one check: the outcome, and the value it rests on, where there is one."""

    outcome: str
    value: Comparison | float | None = None


def read_claims(path: Path, catalogue: Mapping[str, Experiment]) -> list[Claim]:
    """Read the claims; raises `UserError` naming the claim and what is wrong in it."""
    entries = read_yaml(path)
    try:
        claims = [_claim(path, entry, catalogue) for entry in entries]
    except (TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a list of claims ({error!r}): each maps keys such as id to values.") from error
    twice = {claim.id for claim in claims if [c.id for c in claims].count(claim.id) > 1}
    if twice:
        raise UserError(f"{path}: the claim '{min(twice)}' is there twice: rename one.")
    return claims


def _claim(path: Path, entry: Mapping[str, Any], catalogue: Mapping[str, Experiment]) -> Claim:
    def refuse(fault: str) -> UserError:
        return UserError(f"{path}: the claim '{entry.get('id', '')}': {fault}.")

    if not _CLAIM <= set(entry) <= _CLAIM | _CLAIM_MAY:
        raise refuse(f"its keys must be {', '.join(sorted(_CLAIM))}, and may be {', '.join(sorted(_CLAIM_MAY))}")
    checks = entry.get("checks", ())
    if bool(checks) == bool(entry.get("untested")):
        raise refuse("give either checks, or in 'untested' why there are none")
    for check in checks:
        if not _CHECK <= set(check) <= _CHECK | _CHECK_MAY:
            raise refuse(
                f"a check's keys must be {', '.join(sorted(_CHECK))}, and may be {', '.join(sorted(_CHECK_MAY))}"
            )
        if not {"above", "below"} & set(check):
            raise refuse("a check needs a bound: above, below or both")
        if check.get("measure", "miou") not in _MEASURES:
            raise refuse(f"a check's measure must be one of {', '.join(_MEASURES)}")
        for bound in ("above", "below", "paper"):
            if not isinstance(check.get(bound, 0), int | float):
                raise refuse(f"a check's '{bound}' must be a number")
        for experiment in (check["arm"], check["against"]):
            if experiment not in catalogue:
                raise refuse(f"the catalogue lacks its experiment '{experiment}'")
    said = {key: str(entry[key]) for key in entry if key != "checks"}
    return Claim(**said, checks=tuple(Check(**check) for check in checks))


def judged(low: float, high: float, check: Check) -> str:
    """What an interval says of a check's bounds."""
    if (check.above is not None and high < check.above) or (check.below is not None and low > check.below):
        return FAILED
    met = (check.above is None or low > check.above) and (check.below is None or high < check.below)
    return HELD if met else OPEN


def tested(check: Check, arms: Arms, classes: ClassTable) -> Finding:
    """What the runs, or for `hours` the manifests, say of a check."""
    if check.measure == "hours":
        costs = [read_cost(arms.grid, experiment) for experiment in (check.arm, check.against)]
        hours = [cost.hours(classes.minutes) for cost in costs if cost]
        if len(hours) < 2 or not hours[1]:
            return Finding(OPEN)
        share = 100 * hours[0] / hours[1]
        return Finding(judged(share, share, check), share)
    only = classes.refined if check.measure == "refined classes" else ()
    compared = arms.compare(check.network, check.arm, check.against, only)
    if compared is None or compared.low is None or compared.high is None:
        return Finding(OPEN, compared)
    return Finding(judged(compared.low, compared.high, check), compared)


def concluded(findings: Sequence[Finding]) -> str:
    """What the findings of its checks say of a claim: it held where all did, and did not where one did not."""
    outcomes = {finding.outcome for finding in findings}
    if FAILED in outcomes:
        return FAILED
    return HELD if outcomes == {HELD} else OPEN


def write_claims(
    definition: Path,
    catalogue: Mapping[str, Experiment],
    grid: Grid,
    classes: ClassTable,
    out: Path,
    *,
    dataset: str,
    note: str = "",
) -> None:
    """Write `<out>.csv` and `.html`, a row a check, and `<out>.md`, a paragraph a claim; `note` stands below."""
    arms = Arms(grid, classes.names)
    listed: list[str] = []
    rows: list[list[Part]] = []
    for claim in read_claims(definition, catalogue):
        elsewhere = not claim.is_of(dataset)
        findings = [Finding(OPEN) if elsewhere else tested(check, arms, classes) for check in claim.checks]
        outcome = concluded(findings)
        why = claim.untested or (f"said of {claim.dataset}" if elsewhere else "")
        checked = list(zip(claim.checks, findings, strict=True))
        listed.append(_paragraph(claim, outcome, why, checked))
        rows += [_row(claim, outcome, why, *pair, first=i == 0) for i, pair in enumerate(checked or [(None, None)])]
    title = f"The paper's claims ({dataset})"
    legend = (
        "A claim is the paper's, put in our words; outcomes are of these runs alone. "
        f"Differences are of mIoU, in percentage points, with their {100 * LEVEL:.0f} % interval over runs and images; "
        "a check holds where all of the interval is on the right side of its bounds, and does not where all of it is "
        f"on the wrong side of one; below {LEAST_RUNS} runs in either arm nothing is established. Hours are the first "
        "arm's annotation in percent of the second's. Bounds are ours where the paper's words give none."
    )
    table = table_of(title, legend, rows)
    write_csv(f"{out}.csv", *table.csv)
    write_text(f"{out}.md", "\n\n".join(filter(None, [f"**{title}**", *listed, legend, note])) + "\n")
    write_text(f"{out}.html", html(table, note, prose=True))


def _paragraph(claim: Claim, outcome: str, why: str, checked: Sequence[tuple[Check, Finding]]) -> str:
    lines = [f"**{claim.id}** ({claim.section}): {claim.claim}", f"- **{outcome}**" + (f" ({why})" if why else "")]
    for check, finding in checked:
        paper = f", in the paper {_paper(check)}" if check.paper is not None else ""
        lines.append(f"- {_asked(check)}: {finding.outcome}; here {_ours(finding)}{paper}")
    return "\n".join([lines[0], "", *lines[1:]])


def _row(
    claim: Claim, outcome: str, why: str, check: Check | None, finding: Finding | None, first: bool = True
) -> list[Part]:
    """One check of a claim: the CSV repeats the claim in each row, print does not."""
    parts = [
        words("claim", "Claim", claim.id),
        words("section", "Section", claim.section),
        words("says", "What it says", claim.claim),
        Part(
            ["outcome", "why"],
            [outcome, why],
            [Column("Outcome", words=True)],
            [f"{outcome} ({why})" if why else outcome],
        ),
    ]
    if not first:
        parts = [replace(part, cells=[""]) for part in parts]
    value = finding.value if finding else None
    numbers: list[object] = ["", "", "", ""]
    if isinstance(value, Comparison):
        runs = " and ".join(map(str, value.runs))
        numbers = [*map(for_csv, (value.difference, value.low, value.high)), runs]
    elif value is not None:
        numbers = [for_csv(value), "", "", ""]
    return [
        *parts,
        words("check", "Check", _asked(check) if check else ""),
        Part(["paper"], [for_csv(check.paper if check else None)], [Column("Paper")], [_paper(check)]),
        Part(["value", "low", "high", "runs"], numbers, [Column("Here")], [_ours(finding)]),
        words("check_outcome", "Check's outcome", finding.outcome if finding else ""),
    ]


def _ours(finding: Finding | None) -> str:
    if finding is None or finding.value is None:
        return GAP
    return difference_text(finding.value) if isinstance(finding.value, Comparison) else f"{finding.value:.1f} %"


def _asked(check: Check) -> str:
    """A check in a line, for instance `p2 against n1 (tmanet) above -1.5`."""
    only = ", refined classes" if check.measure == "refined classes" else ""
    what, unit = f"{check.arm} against {check.against} ({check.network}{only})", ""
    if check.measure == "hours":
        what, unit = f"hours of {check.arm} / {check.against}", " %"
    bounds = [
        f"{side} {value:g}{unit}"
        for side, value in (("above", check.above), ("below", check.below))
        if value is not None
    ]
    return f"{what} {' and '.join(bounds)}".replace(" -", f" {MINUS}")


def _paper(check: Check | None) -> str:
    if check is None or check.paper is None:
        return GAP
    return f"{check.paper:.1f} %" if check.measure == "hours" else signed(check.paper)
