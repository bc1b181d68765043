"""What each stage declares: targets ask for all of it.

A failed job's outputs are gone, and Snakemake 9.27 does not make a missing file again that only jobs below it read which
are up to date themselves. So every target names all the files that it rests on: then what failed is tried again.
"""


def plan_files():
    """All that preparation and the plan declare."""
    names = ("prepare.ran", "index.csv", "eligible.csv")
    names += ("corrected.csv", "states.csv", "plan.ran")
    stages = ("propagate", "refine")
    shards = [
        f"shards/{stage}/{shard}.csv" for stage in stages for shard in STUDY.shards
    ]
    planned = [f"{STUDY.folder}/{name}" for name in [*names, *shards]]
    return [*planned, *selection_files()]


def label_files():
    """All that propagation and refinement declare, of every method that the config asks for."""
    return [
        path
        for stage, methods in STUDY.labelled.items()
        for method in methods
        for path in (
            *shard_labels(stage, method),
            f"{STUDY.folder}/{stage}/{method}/labels.csv",
            f"{STUDY.folder}/{stage}/{method}/labels.ran",
        )
    ]


def manifest_files():
    """All manifests, where anything is trained."""
    if not STUDY.experiments:
        return []
    manifests = [path for family in STUDY.families for path in family_manifests(family)]
    return [*manifests, f"{STUDY.folder}/manifests/evaluation.csv"]


def run_files():
    """All that trainings and evaluations declare."""
    names = (
        "model.safetensors",
        "confusion.npz",
        "metrics.csv",
        "groups.csv",
        "paths.csv",
    )
    return [path for name in names for path in evaluated_runs(name)]


def table_files():
    """The tables that the config asks for and has runs for, and what they make of the paper's claims."""
    tables = STUDY.tables if STUDY.experiments else []
    kinds = {table: ("csv", "md", "tex", "html") for table in tables}
    if tables:
        kinds["claims"] = ("csv", "md", "html")
    return [
        f"{STUDY.folder}/tables/{table}.{kind}"
        for table in kinds
        for kind in kinds[table]
    ]


def quality_files():
    """The tables of pseudo-label quality, and their figure."""
    tables = [f"{STUDY.folder}/quality/{method}.csv" for method in STUDY.measured]
    return [*tables, f"{STUDY.folder}/figures/quality.png"] if tables else []


def refinement_files():
    """The tables of refined labels against fine ones."""
    return [
        f"{STUDY.folder}/quality/refinement/{method}.csv"
        for method in STUDY.labelled["refined"]
    ]


def signal_files():
    """The tables of signals that need no truth, and their figure."""
    methods = STUDY.signalled
    kinds = ("signals", "policy")
    tables = [
        f"{STUDY.folder}/quality/{kind}/{method}.csv"
        for method in methods
        for kind in kinds
    ]
    return [*tables, f"{STUDY.folder}/figures/signals.png"] if methods else []


def gallery_files():
    """The pages of pseudo-labels, the worst first."""
    return [
        f"{STUDY.folder}/figures/labels-{method}.html"
        for method in STUDY.labelled["pseudo"]
    ]


def figure_files():
    """The figures that there is something to draw for."""
    wanted = {
        "figure4": "table3" in STUDY.tables and STUDY.experiments,
        "cost": STUDY.tables and STUDY.experiments,
        "propagation": STUDY.propagation in STUDY.labelled["pseudo"],
        "refinement": STUDY.families["refined"],
    }
    return [
        f"{STUDY.folder}/figures/{name}.png" for name, there in wanted.items() if there
    ]
