"""Tables and figures, from whatever runs the config names.

REQUIRED INPUTS: every run's metrics.csv and confusion.npz, every manifest; labels for the pictures
OUTPUTS: tables/table<i>.{csv,md,tex,html}, tables/claims.{csv,md,html}, figures/{figure4,cost}.{png,pdf}, figures/{propagation,refinement}.{png,pdf}
"""


rule table:
    input:
        metrics=evaluated_runs("metrics.csv"),
        confusion=evaluated_runs("confusion.npz"),
        manifests=every_manifest,
        catalogue=CATALOGUE,
        definition=table_definition,
    output:
        csv="<data>/tables/{table}.csv",
        md="<data>/tables/{table}.md",
        tex="<data>/tables/{table}.tex",
        html=report(
            "<data>/tables/{table}.html",
            caption="../workflow/report/table.rst",
            category="Tables",
            labels={"shows": "{table}"},
        ),
    log:
        "<data>/logs/tables/{table}.log",
    localrule: True
    params:
        settings=STUDY.table_settings(),
        version=VERSIONS["tables"],
        classes=STUDY.classes,
        class_digest=STUDY.class_digest,
        results=results_folder,
        out=lambda wildcards, output: Path(output.csv).with_suffix(""),
    shell:
        "fewframes table --definition {input.definition:q} --settings {params.settings:q}"
        " --catalogue {input.catalogue:q} --classes {params.classes:q} --results {params.results:q}"
        " --out {params.out:q} 2>&1 | tee {log:q}"


rule claims:
    input:
        metrics=evaluated_runs("metrics.csv"),
        confusion=evaluated_runs("confusion.npz"),
        manifests=every_manifest,
        catalogue=CATALOGUE,
        definition=EXPERIMENTS / "claims.yaml",
    output:
        csv="<data>/tables/claims.csv",
        md="<data>/tables/claims.md",
        html=report(
            "<data>/tables/claims.html",
            caption="../workflow/report/claims.rst",
            category="Tables",
            labels={"shows": "claims"},
        ),
    log:
        "<data>/logs/tables/claims.log",
    localrule: True
    params:
        settings=STUDY.table_settings(),
        version=VERSIONS["tables"],
        classes=STUDY.classes,
        class_digest=STUDY.class_digest,
        results=results_folder,
        out=lambda wildcards, output: Path(output.csv).with_suffix(""),
    shell:
        "fewframes claims --definition {input.definition:q} --settings {params.settings:q}"
        " --catalogue {input.catalogue:q} --classes {params.classes:q} --results {params.results:q}"
        " --out {params.out:q} 2>&1 | tee {log:q}"


rule figure4:
    input:
        metrics=evaluated_runs("metrics.csv"),
        manifests=every_manifest,
        catalogue=CATALOGUE,
        definition=EXPERIMENTS / "table3.yaml",
    output:
        png=report(
            "<data>/figures/figure4.png",
            caption="../workflow/report/figure4.rst",
            category="Figures",
            labels={"shows": "figure4"},
        ),
        pdf="<data>/figures/figure4.pdf",
    log:
        "<data>/logs/figures/figure4.log",
    localrule: True
    params:
        settings=STUDY.table_settings(),
        version=VERSIONS["figures"],
        results=results_folder,
        out=lambda wildcards, output: Path(output.png).with_suffix(""),
    shell:
        "fewframes figure figure4 --definition {input.definition:q} --settings {params.settings:q}"
        " --catalogue {input.catalogue:q} --results {params.results:q} --out {params.out:q} 2>&1 | tee {log:q}"


rule cost:
    input:
        metrics=evaluated_runs("metrics.csv"),
        manifests=every_manifest,
        catalogue=CATALOGUE,
    output:
        png=report(
            "<data>/figures/cost.png",
            caption="../workflow/report/cost.rst",
            category="Figures",
            labels={"shows": "cost"},
        ),
        pdf="<data>/figures/cost.pdf",
    log:
        "<data>/logs/figures/cost.log",
    localrule: True
    params:
        settings=STUDY.table_settings(),
        version=VERSIONS["figures"],
        classes=STUDY.classes,
        class_digest=STUDY.class_digest,
        results=results_folder,
        network=next(iter(STUDY.networks), ""),
        out=lambda wildcards, output: Path(output.png).with_suffix(""),
    shell:
        "fewframes figure cost --network {params.network} --classes {params.classes:q} --settings {params.settings:q}"
        " --catalogue {input.catalogue:q} --results {params.results:q} --out {params.out:q} 2>&1 | tee {log:q}"


rule picture:
    input:
        labels=pictured_labels,
        states=pictured_states,
    output:
        png=report(
            "<data>/figures/{picture}.png",
            caption="../workflow/report/picture.rst",
            category="Labels",
            labels={"shows": "{picture}"},
        ),
        pdf="<data>/figures/{picture}.pdf",
    log:
        "<data>/logs/figures/{picture}.log",
    wildcard_constraints:
        picture="propagation|refinement",
    localrule: True
    params:
        settings=STUDY.table_settings(),
        version=VERSIONS["figures"],
        root=str(STUDY.root),
        classes=STUDY.classes,
        class_digest=STUDY.class_digest,
        results=results_folder,
        out=lambda wildcards, output: Path(output.png).with_suffix(""),
    shell:
        "fewframes figure {wildcards.picture} --settings {params.settings:q} --root {params.root:q}"
        " --classes {params.classes:q} --results {params.results:q} --out {params.out:q} --labels {input.labels:q}"
        " 2>&1 | tee {log:q}"
