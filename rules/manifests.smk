"""Manifests: the exact samples of every experiment, and the only trigger of training.

One checkpoint a family of experiments, so that an edited annotation re-trains, in the same invocation, just the
experiments whose manifest changed.

REQUIRED INPUTS: index.csv, eligible.csv, states.csv; selection/<name>.csv where an experiment chooses clips by it;
pseudo/<method>/labels.csv or refined/<method>/labels.csv
OUTPUTS: manifests/<experiment>/draw<j>.csv, manifests/evaluation.csv; those of experiments whose labels are filled are
written in fill.smk
"""


checkpoint manifests_annotated:
    input:
        planned_index,
        planned_selections,
    output:
        family_manifests("annotated"),
        evaluation="<data>/manifests/evaluation.csv",
    log:
        "<data>/logs/manifests/annotated.log",
    localrule: True
    params:
        settings=STUDY.manifest_settings("annotated"),
        version=VERSIONS["manifests"],
        root=str(STUDY.root),
        results=results_folder,
    shell:
        "fewframes manifests --family annotated --settings {params.settings:q}"
        " --root {params.root:q} --results {params.results:q} 2>&1 | tee {log:q}"


if STUDY.families["propagated"]:

    checkpoint manifests_propagated:
        input:
            planned_index,
            planned_selections,
            labels=trained_pseudo_labels,
        output:
            family_manifests("propagated"),
            ran="<data>/manifests/propagated.ran",
        log:
            "<data>/logs/manifests/propagated.log",
        localrule: True
        params:
            settings=STUDY.manifest_settings("propagated"),
            version=VERSIONS["manifests"],
            root=str(STUDY.root),
            results=results_folder,
            method=STUDY.propagation,
            labels=f"{STUDY.folder}/pseudo/{STUDY.propagation}/labels.csv",
        shell:
            "fewframes manifests --family propagated --settings {params.settings:q}"
            " --root {params.root:q} --results {params.results:q} --pseudo {params.method} {params.labels:q}"
            " 2>&1 | tee {log:q} && date +%s.%N > {output.ran:q}"


if STUDY.families["refined"]:

    checkpoint manifests_refined:
        input:
            planned_index,
            labels=all_refined_labels,
        output:
            family_manifests("refined"),
        log:
            "<data>/logs/manifests/refined.log",
        localrule: True
        params:
            settings=STUDY.manifest_settings("refined"),
            version=VERSIONS["manifests"],
            root=str(STUDY.root),
            results=results_folder,
            labels=refined_by(),
        shell:
            "fewframes manifests --family refined --settings {params.settings:q}"
            " --root {params.root:q} --results {params.results:q} {params.labels:q}"
            " 2>&1 | tee {log:q}"
