"""Whether the statistics tell toy city's `variety` on from off: a positive and a negative control of the machinery.

Give it the configs of both cities, whose runs are finished (`make claims-toy`). The claims in claims.yaml are ours, of
toy city: one that names a city must hold there, one that names none in both. The exit code is 1 where one does not or
is tested nowhere, where a city has none, and where an interval leaves out the chance of runs or of images.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from snakemake.exceptions import WorkflowError  # type: ignore[import-untyped]
from snakemake.utils import validate  # type: ignore[import-untyped]

from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.experiments.schemes import load_catalogue
from fewframes.experiments.study import Study
from fewframes.reporting.claims import HELD, OPEN, Check, Claim, Finding, concluded, read_claims, tested
from fewframes.reporting.printing import difference_text
from fewframes.reporting.statistics import Grid
from fewframes.reporting.verdicts import Arms, Comparison

HERE = Path(__file__).parent
WORKFLOW = HERE.parent
CATALOGUE = WORKFLOW / "experiments" / "catalogue.yaml"


def read_study(config: Path) -> Study:
    """The study of a config, its defaults filled in as the workflow does."""
    read: dict[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8"))
    validate(read, str(WORKFLOW / "schemas" / "config.schema.yaml"))
    return Study(read, CATALOGUE)


def told_apart(studies: Sequence[Study], claims: Sequence[Claim]) -> bool:
    """Print what the runs of two cities or more say of the claims; whether all held, and none was left out."""
    cities = {study.dataset for study in studies}
    held = [controlled(study, [claim for claim in claims if claim.is_of(study.dataset)]) for study in studies]
    left_out = [claim for claim in claims if not any(map(claim.is_of, cities))]
    for claim in left_out:
        print(f"{claim.id} is tested nowhere: no config is of {claim.dataset}.")
    return all(held) and not left_out and len(cities) > 1


def controlled(study: Study, claims: Sequence[Claim]) -> bool:
    """Print what the runs of a study say of each claim; whether there are claims, and all held."""
    grid = Grid.of(Path(study.folder), json.loads(study.table_settings()))
    classes = load_class_table(study.classes)
    arms, outcomes = Arms(grid, classes.names), []
    print(study.dataset)
    for claim in claims:
        findings = [sound(tested(check, arms, classes)) for check in claim.checks]
        outcomes.append(concluded(findings))
        print(f"  {outcomes[-1]}: {claim.claim.strip()}")
        for check, finding in zip(claim.checks, findings, strict=True):
            print(f"    {line(check, finding)}")
    return set(outcomes) == {HELD}


def sound(finding: Finding) -> Finding:
    """The finding, as one that establishes nothing where its interval leaves out the chance of runs or of images.

    Toy city's runs differ by seed, and its images are not alike: a variance of zero is a fault of the statistics.
    """
    compared = finding.value
    if isinstance(compared, Comparison) and compared.variances is not None and not min(compared.variances) > 0:
        return Finding(OPEN, compared)
    return finding


def line(check: Check, finding: Finding) -> str:
    """A comparison, its bounds, what the runs gave, its standard errors, and the verdict that a table prints."""
    bounds = [
        f"{side} {bound:+g}" for side, bound in (("above", check.above), ("below", check.below)) if bound is not None
    ]
    asked = f"{check.arm} against {check.against}, {' and '.join(bounds)}"
    compared = finding.value
    if not isinstance(compared, Comparison):
        return f"{asked}: not run: {finding.outcome}"
    said = f"{asked}: {difference_text(compared)}, {compared.verdict}"
    if compared.variances is not None:
        runs, images = (variance**0.5 for variance in compared.variances)
        said += f", standard error {runs:.2f} by runs and {images:.2f} by images"
    return f"{said}: {finding.outcome}"


def main() -> int:
    """Check every config; 0 where all that must hold does, 1 where it does not, 2 where something cannot be read."""
    try:
        claims = read_claims(HERE / "claims.yaml", load_catalogue(CATALOGUE))
        told = told_apart([read_study(Path(path)) for path in sys.argv[1:]], claims)
    except (UserError, WorkflowError, OSError) as error:
        print(f"check: {error}", file=sys.stderr)
        return 2
    print("The statistics tell variety on from off." if told else "The statistics do NOT tell variety on from off.")
    return 0 if told else 1


if __name__ == "__main__":
    sys.exit(main())
