"""The report: one page of everything that the config asks for.

REQUIRED INPUTS: the tables, figures, quality tables and galleries; metrics, manifests and label lists that the page looks into
OUTPUTS: report.html; Snakemake's own report, to which it links, is `snakemake all --report <data>/snakemake-report.html`
"""


rule site:
    input:
        shown=shown_files(),
        metrics=evaluated_runs("metrics.csv"),
        confusion=evaluated_runs("confusion.npz"),
        manifests=every_manifest,
        labels=every_labels,
        catalogue=CATALOGUE,
        captions=CAPTIONS,
    output:
        html="<data>/report.html",
    log:
        "<data>/logs/report.log",
    localrule: True
    params:
        settings=STUDY.table_settings(),
        config=canonical_json(config),
        version=VERSIONS["report"],
        classes=STUDY.classes,
        class_digest=STUDY.class_digest,
        results=results_folder,
        captions=lambda wildcards, input: Path(input.captions[0]).parent,
        labelled=[
            word
            for stage, methods in STUDY.labelled.items()
            for method in methods
            for word in ("--labelled", stage, method)
        ],
    shell:
        "fewframes report --settings {params.settings:q} --config {params.config:q} --catalogue {input.catalogue:q}"
        " --classes {params.classes:q} --results {params.results:q} --captions {params.captions:q} {params.labelled:q}"
        " --out {output.html:q} {input.shown:q} 2>&1 | tee {log:q}"


rule report:
    input:
        plan_files(),
        label_files(),
        manifest_files(),
        run_files(),
        shown_files(),
        site_files(),
    localrule: True
