"""The command line: one command a stage, thin, its stage imported only when called."""

from __future__ import annotations

import sys

import click

from fewframes import __version__
from fewframes.cli import figures, filling, forecast, hands, keeping, models, reports, site, stages
from fewframes.core.errors import UserError
from fewframes.core.shown import one_line


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def app() -> None:
    """Fewframes: how little manual annotation is enough for video semantic segmentation?

    Each command is one stage, which `snakemake` calls in order; doctor, plan, verify, prune, fetch,
    predict, export-predictions, budget, train-compact, export and import are for hands.
    """


for _command in (
    stages.toycity,
    stages.prepare,
    stages.selection,
    stages.needs,
    stages.propagate,
    stages.refine,
    filling.fill,
    filling.filled_manifest,
    stages.collect,
    stages.quality,
    stages.signals,
    stages.refinement_quality,
    stages.manifests,
    stages.train,
    stages.evaluate,
    reports.table,
    reports.claims,
    reports.budget,
    site.report,
    figures.figure,
    hands.doctor,
    forecast.plan,
    keeping.verify,
    keeping.prune,
    hands.fetch,
    hands.train_compact,
    models.predict,
    models.export_predictions,
    hands.export,
    hands.import_,
):
    app.add_command(_command)


def main() -> None:
    """Run the command line; a fault of the user's is one sentence and exit code 2."""
    try:
        app(standalone_mode=False)
    except UserError as error:
        print(one_line(f"fewframes: {error}"), file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
