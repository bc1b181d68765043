"""Tables of the paper and its claims, from whatever runs the config names.

REQUIRED INPUTS: metrics.csv and confusion.npz of the runs that a table shows, their manifests; the paper's values
OUTPUTS: tables/table<i>.{csv,md,tex,html}, tables/claims.{csv,md,html}
"""


rule table:
    input:
        metrics=shown_runs("metrics.csv"),
        confusion=shown_runs("confusion.npz"),
        manifests=shown_manifests,
        catalogue=CATALOGUE,
        definition=shown_definition,
        paper=paper_values,
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
        settings=shown_settings,
        version=VERSIONS["tables"],
        classes=STUDY.classes,
        class_digest=STUDY.class_digest,
        results=results_folder,
        out=lambda wildcards, output: Path(output.csv).with_suffix(""),
    shell:
        "fewframes table --definition {input.definition:q} --settings {params.settings:q}"
        " --catalogue {input.catalogue:q} --classes {params.classes:q} --results {params.results:q}"
        " --out {params.out:q} 2>&1 | tee {log:q}"


rule claims_table:
    input:
        metrics=evaluated_runs("metrics.csv"),
        confusion=evaluated_runs("confusion.npz"),
        manifests=every_manifest,
        catalogue=CATALOGUE,
        # It holds the paper's values that claims are about.
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
