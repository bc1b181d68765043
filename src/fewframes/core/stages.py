"""Each stage's version, and the order of the stages.

A version is part of what a stage's results are known by: raise it by hand whenever a change of the code may
change that stage's results. Snakemake sees it as a parameter, the fingerprints of label files and checkpoints
contain it. Editing the package without raising it recomputes nothing.
"""

from __future__ import annotations

VERSIONS = {
    "toycity": 1,
    "prepare": 1,
    "selection": 1,
    "plan": 2,
    "propagate": 2,
    "refine": 2,
    "manifests": 1,
    "train": 1,
    "evaluate": 2,
    "fill": 1,
    "quality": 2,
    "signals": 1,
    "refinement_quality": 1,
    "tables": 3,
    "figures": 4,
    "report": 1,
}

ALLOW_CPU = "FEWFRAMES_ALLOW_CPU"
"""Environment variable; where it is set, `auto` means a processor within a cluster's job too (config: `allow_cpu`)."""
