"""Functions that the rules and targets of tables and figures ask: each rests on what it shows, and on no more."""

from fewframes.experiments.parts import CURVES, SHEETS, TABLES, Parts

PARTS = Parts(STUDY, EXPERIMENTS)


def shown_name(wildcards):
    """The table or figure of a job: its one wildcard."""
    (name,) = wildcards
    return name


def shown_runs(file):
    """One file of every run that a table or figure shows."""
    return lambda wildcards: [
        f"{STUDY.folder}/runs/{run}/{file}" for run in PARTS.runs(shown_name(wildcards))
    ]


def shown_manifests(wildcards):
    """Through their checkpoints: the manifests of what is shown, and what the corrected labels among their samples cost."""
    checkpoints.plan.get()
    experiments = PARTS.experiments(shown_name(wildcards))
    # Family by family: a checkpoint has hundreds of outputs, which Snakemake goes through each time that it is asked.
    for family in dict.fromkeys(experiment.family for experiment in experiments):
        planned_manifests(family)
    manifests = [
        f"{STUDY.folder}/manifests/{experiment.id}/draw{draw}.csv"
        for experiment in experiments
        for draw in experiment.draws_of(STUDY.draws)
    ]
    return [*manifests, f"{STUDY.folder}/corrected.csv"]


def shown_settings(wildcards):
    """Which runs a table or figure shows, and the note below."""
    return PARTS.settings(shown_name(wildcards))


def shown_definition(wildcards):
    """A table's definition, or that of the table whose rows a figure draws; none where it is of every run."""
    name = shown_name(wildcards)
    return PARTS.definition(name) if CURVES.get(name, name) else []


def paper_values(wildcards):
    """The paper's own values of a table."""
    return EXPERIMENTS / "paper" / f"{wildcards.table}.csv"


def curve_options(wildcards):
    """What is said to the command of one figure of runs, and not to the others."""
    if wildcards.figure == "cost":
        return ["--classes", STUDY.classes]
    definition = shown_definition(wildcards)
    return ["--definition", str(definition)] if definition else []


def priced_classes(wildcards):
    """What tells that the class table changed, for the figure that takes its prices from it."""
    return STUDY.class_digest if wildcards.figure == "cost" else ""


def sheet_labels(wildcards):
    """Through their checkpoint: the labels that a sheet shows; none for that of annotations."""
    if wildcards.figure == "figure2":
        return pseudo_labels(STUDY.propagation)
    return refined_labels(STUDY.refinement) if wildcards.figure == "figure3" else []


def sheet_options(wildcards):
    """What is said to the command of one sheet, and not to the others."""
    made = {
        "figure2": f"pseudo/{STUDY.propagation}",
        "figure3": f"refined/{STUDY.refinement}",
    }.get(wildcards.figure)
    return ["--labels", f"{STUDY.folder}/{made}/labels.csv"] if made else []


def sheet_states(wildcards):
    """What tells that annotations may have changed, where a sheet shows more of them than key frames' with labels."""
    return [] if wildcards.figure == "figure2" else planned_states(wildcards)


def part_files(name):
    """All that a table or figure of runs rests on."""
    experiments, runs = PARTS.rests_on(name)
    families = {experiment.family for experiment in experiments}
    labelled = {
        "pseudo": [STUDY.propagation] if families & {"propagated", "filled"} else [],
        "refined": STUDY.refined_by if "refined" in families else [],
    }
    return [
        *plan_files(),
        *label_files(labelled),
        *manifest_files(families),
        *run_files(runs),
    ]


def sheet_files(name):
    """All that a sheet of labelled images rests on."""
    labelled = {
        "pseudo": [STUDY.propagation] if name == "figure2" else [],
        "refined": [STUDY.refinement] if name == "figure3" else [],
    }
    return [*plan_files(), *label_files(labelled)]


def absent(name):
    """Why the config has nothing for a table or figure, in a sentence; empty where it has."""
    try:
        return PARTS.absent(name)
    except UserError as error:
        refuse(error)


def refuse(why):
    """End with a sentence that says what to do."""
    print(one_line(f"fewframes: {why}"), file=sys.stderr)
    sys.exit(2)


def target(name):
    """All that a table or figure rests on, and itself, where the config has something for it."""

    def files(wildcards):
        if why := absent(name):
            refuse(why)
        if name in TABLES:
            return [*part_files(name), *printed_tables([name])]
        below = sheet_files(name) if name in SHEETS else part_files(name)
        return [*below, *(f"{STUDY.folder}/figures/{name}.{k}" for k in ("png", "pdf"))]

    return files


def claims_target(wildcards):
    """All that the paper's claims rest on, and what runs make of them."""
    if not STUDY.experiments:
        refuse("claims are about runs: name experiments in the config, and a network.")
    return [
        *plan_files(),
        *label_files(),
        *manifest_files(),
        *run_files(),
        *claim_files(),
    ]


def quality_target(wildcards):
    """All that the quality of labels rests on, its tables and figures."""
    files = [*quality_files(), *signal_files(), *refinement_files(), *gallery_files()]
    if not files:
        refuse(
            "quality is of made labels, and the config asks for none: name an experiment such as p2, or set "
            "propagation.offsets."
        )
    return [*plan_files(), *label_files(), *files]


def paper_files(wildcards):
    """The paper's tables, claims and curves that the config has something for, whether or not it asks for them."""
    curves = [name for name in CURVES if not absent(name)]
    return [
        *printed_tables([table for table in TABLES if not absent(table)]),
        *(claim_files() if STUDY.experiments else []),
        *(f"{STUDY.folder}/figures/{name}.png" for name in curves),
    ]
