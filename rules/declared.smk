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


def label_files(labelled=STUDY.labelled):
    """All that propagation and refinement declare, of every method that the config asks for or of some, by stage."""
    return [
        path
        for stage, methods in labelled.items()
        for method in methods
        for path in (
            *shard_labels(stage, method),
            f"{STUDY.folder}/{stage}/{method}/labels.csv",
            f"{STUDY.folder}/{stage}/{method}/labels.ran",
        )
    ]


def manifest_files(families=STUDY.families):
    """All manifests, or those of some families, where anything is trained."""
    if not STUDY.experiments:
        return []
    manifests = [path for family in families for path in family_manifests(family)]
    if "propagated" in families and STUDY.families["propagated"]:
        manifests.append(f"{STUDY.folder}/manifests/propagated.ran")
    if "filled" in families:
        manifests += filled_files()
    return [*manifests, f"{STUDY.folder}/manifests/evaluation.csv"]


def filled_files():
    """All that filling declares beside manifests."""
    names = [f"{STUDY.folder}/filled/{name}" for name in STUDY.manifests("filled")]
    return [f"{name}.{kind}" for name in names for kind in ("csv", "ran")]


def run_files(runs=STUDY.runs):
    """All that trainings and evaluations declare, of every run or of some."""
    names = ("model.safetensors", *SCORES)
    return [f"{STUDY.folder}/runs/{run}/{name}" for name in names for run in runs]


def table_files():
    """The tables that the config asks for and has runs for, and what they make of the paper's claims."""
    tables = STUDY.tables if STUDY.experiments else []
    return [*printed_tables(tables), *(claim_files() if tables else [])]


def printed_tables(tables):
    """All that some of the paper's tables are printed as."""
    kinds = ("csv", "md", "tex", "html")
    return [f"{STUDY.folder}/tables/{table}.{k}" for table in tables for k in kinds]


def claim_files():
    """What the runs make of the paper's claims."""
    return [f"{STUDY.folder}/tables/claims.{kind}" for kind in ("csv", "md", "html")]


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
    curves = CURVES if STUDY.tables else ()
    wanted = [name for name in (*SHEETS, *curves) if not absent(name)]
    return [f"{STUDY.folder}/figures/{name}.png" for name in wanted]


def shown_files():
    """All that the report shows."""
    return [
        *table_files(),
        *figure_files(),
        *quality_files(),
        *signal_files(),
        *refinement_files(),
        *gallery_files(),
    ]


def site_files():
    """The report."""
    return [f"{STUDY.folder}/report.html"]
