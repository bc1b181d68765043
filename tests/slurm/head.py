"""Snakemake, asking after its Slurm jobs every second: as it comes, it asks ever later while nothing succeeds."""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda _: 1.0, lambda _, seconds: None)
# Jobs are submitted with the command line's own arguments; theirs is the true Snakemake.
sys.exit(main())
