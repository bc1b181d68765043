"""Quality: pseudo-labels against dense truth, method by method.

REQUIRED INPUTS: pseudo/<method>/labels.csv, dataset.truth
OUTPUTS: quality/<method>.csv, figures/quality.{png,pdf}
"""


rule quality:
    input:
        index=planned_clips,
        labels=measured_labels,
    output:
        table=report(
            "<data>/quality/{method}.csv",
            caption="../workflow/report/quality.rst",
            category="Pseudo-labels",
            labels={"shows": "quality of {method}"},
        ),
    log:
        "<data>/logs/quality/{method}.log",
    params:
        version=VERSIONS["quality"],
        labels=lambda wildcards: f"{STUDY.folder}/pseudo/{wildcards.method}/labels.csv",
        truth=STUDY.truth,
        truth_scan=truth_scan,
        reach=STUDY.reach,
        classes=STUDY.classes,
        class_digest=STUDY.label_digest,
        results=results_folder,
        splits=[f"--split {split}" for split in STUDY.measured_splits],
    shell:
        "fewframes quality --method {wildcards.method} --truth {params.truth:q} --reach {params.reach}"
        " --classes {params.classes:q} --results {params.results:q} {params.splits} --out {output.table:q}"
        " --labels {params.labels:q} 2>&1 | tee {log:q}"


rule quality_figure:
    input:
        every_measured_labels,
        tables=[f"{STUDY.folder}/quality/{method}.csv" for method in STUDY.measured],
    output:
        png=report(
            "<data>/figures/quality.png",
            caption="../workflow/report/quality.rst",
            category="Pseudo-labels",
            labels={"shows": "quality by distance"},
        ),
        pdf="<data>/figures/quality.pdf",
    log:
        "<data>/logs/figures/quality.log",
    localrule: True
    params:
        settings=STUDY.table_settings(),
        version=VERSIONS["figures"],
        out=lambda wildcards, output: Path(output.png).with_suffix(""),
    shell:
        "fewframes figure quality --settings {params.settings:q} --out {params.out:q} {input.tables:q}"
        " 2>&1 | tee {log:q}"
