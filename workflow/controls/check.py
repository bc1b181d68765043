"""Whether the statistics tell toy city's `variety` on from off: a positive and a negative control of the machinery.

Give it the configs of both cities, whose runs are finished (`make claims-toy`). The claims in claims.yaml are ours, of
toy city: one that names a city must hold there, one that names none in both. The exit code is 1 where one does not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.experiments.schemes import chosen, load_catalogue
from fewframes.reporting.claims import HELD, Check, Finding, concluded, read_claims, tested
from fewframes.reporting.printing import difference_text
from fewframes.reporting.statistics import Grid
from fewframes.reporting.verdicts import Arms, Comparison

HERE = Path(__file__).parent
CATALOGUE = load_catalogue(HERE.parent / "experiments" / "catalogue.yaml")


def controlled(config: dict[str, Any]) -> bool:
    """Print what the runs of a config say of each claim; whether all held that are of its city."""
    city, draws = config["dataset"]["name"], config["draws"]
    experiments = {e.id: tuple(e.draws_of(draws)) for e in chosen(CATALOGUE, config["experiments"])}
    grid = Grid(
        Path(config.get("results", "results")) / city, tuple(config["training"]), experiments, tuple(config["seeds"])
    )
    classes = load_class_table(config["dataset"]["classes"])
    arms, held = Arms(grid, classes.names), True
    print(f"{city} (variety {config['toycity']['variety']})")
    for claim in read_claims(HERE / "claims.yaml", CATALOGUE):
        if claim.dataset in ("", city):
            findings = [tested(check, arms, classes) for check in claim.checks]
            print(f"  {concluded(findings)}: {claim.claim.strip()}")
            for check, finding in zip(claim.checks, findings, strict=True):
                print(f"    {line(check, finding)}")
            held = held and concluded(findings) == HELD
    return held


def line(check: Check, finding: Finding) -> str:
    """A comparison, its bounds, what the runs gave, and the verdict that a table prints."""
    bounds = [
        f"{side} {bound:+g}" for side, bound in (("above", check.above), ("below", check.below)) if bound is not None
    ]
    asked = f"{check.arm} against {check.against}, {' and '.join(bounds)}"
    if not isinstance(finding.value, Comparison):
        return f"{asked}: not run: {finding.outcome}"
    return f"{asked}: {difference_text(finding.value)}, {finding.value.verdict}: {finding.outcome}"


def main() -> int:
    """Check every config; 0 where all that must hold does, 1 where it does not, 2 where something cannot be read."""
    try:
        held = [controlled(yaml.safe_load(Path(path).read_text(encoding="utf-8"))) for path in sys.argv[1:]]
    except (UserError, OSError) as error:
        print(f"check: {error}", file=sys.stderr)
        return 2
    told = all(held) and len(held) > 1
    print("The statistics tell variety on from off." if told else "The statistics do NOT tell variety on from off.")
    return 0 if told else 1


if __name__ == "__main__":
    sys.exit(main())
