"""Figures: curves of runs, and sheets of labelled images. Those of pseudo-label quality are drawn in quality.smk.

A rule for each kind; which figure it draws, and from what, is told by the wildcard (see shown.smk).

REQUIRED INPUTS: metrics.csv of the runs that a curve shows, and their manifests; for sheets the labels, or the index
OUTPUTS: figures/{figure4,figure5,cost,clips}.{png,pdf}, figures/{figure1,figure2,figure3}.{png,pdf}
"""


rule curve:
    input:
        metrics=shown_runs("metrics.csv"),
        manifests=shown_manifests,
        catalogue=CATALOGUE,
        definition=shown_definition,
    output:
        png=report(
            "<data>/figures/{figure}.png",
            caption="../workflow/report/figure.rst",
            category="Figures",
            labels={"shows": "{figure}"},
        ),
        pdf="<data>/figures/{figure}.pdf",
    log:
        "<data>/logs/figures/{figure}.log",
    wildcard_constraints:
        figure="|".join(CURVES),
    localrule: True
    params:
        settings=shown_settings,
        version=VERSIONS["figures"],
        options=curve_options,
        class_digest=priced_classes,
        results=results_folder,
        out=lambda wildcards, output: Path(output.png).with_suffix(""),
    shell:
        "fewframes figure {wildcards.figure} {params.options:q} --settings {params.settings:q}"
        " --catalogue {input.catalogue:q} --results {params.results:q} --out {params.out:q} 2>&1 | tee {log:q}"


rule sheet:
    input:
        index=planned_clips,
        labels=sheet_labels,
        states=sheet_states,
    output:
        png=report(
            "<data>/figures/{figure}.png",
            caption="../workflow/report/figure.rst",
            category="Labels",
            labels={"shows": "{figure}"},
        ),
        pdf="<data>/figures/{figure}.pdf",
    log:
        "<data>/logs/figures/{figure}.log",
    wildcard_constraints:
        figure="|".join(SHEETS),
    localrule: True
    params:
        settings=canonical_json({"note": config["note"]}),
        version=VERSIONS["figures"],
        options=sheet_options,
        root=str(STUDY.root),
        classes=STUDY.classes,
        class_digest=STUDY.class_digest,
        results=results_folder,
        out=lambda wildcards, output: Path(output.png).with_suffix(""),
    shell:
        "fewframes figure {wildcards.figure} {params.options:q} --settings {params.settings:q} --root {params.root:q}"
        " --classes {params.classes:q} --results {params.results:q} --out {params.out:q} 2>&1 | tee {log:q}"
