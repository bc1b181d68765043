"""Quality: pseudo-labels against dense truth, and by signals that need none, method by method.

REQUIRED INPUTS: pseudo/<method>/labels.csv, refined/<method>/labels.csv; dataset.truth where there is any
OUTPUTS: quality/<method>.csv, quality/{signals,policy,refinement}/<method>.csv, figures/{quality,signals}.{png,pdf}; undeclared, what
was measured of each clip in quality/measured/<method>/
"""


rule label_quality:
    input:
        index=planned_clips,
        labels=labels_of_method,
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
        splits=[word for split in STUDY.measured_splits for word in ("--split", split)],
    shell:
        "fewframes quality --method {wildcards.method} --truth {params.truth:q} --reach {params.reach}"
        " --classes {params.classes:q} --results {params.results:q} {params.splits:q} --out {output.table:q}"
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
        settings=STUDY.label_settings(),
        version=VERSIONS["figures"],
        out=lambda wildcards, output: Path(output.png).with_suffix(""),
    shell:
        "fewframes figure quality --settings {params.settings:q} --out {params.out:q} {input.tables:q}"
        " 2>&1 | tee {log:q}"


rule signals:
    input:
        index=planned_clips,
        labels=labels_of_method,
        weights=weights_of_method("propagation"),
    output:
        table="<data>/quality/signals/{method}.csv",
        curve="<data>/quality/policy/{method}.csv",
    log:
        "<data>/logs/signals/{method}.log",
    threads: threads_of_method("propagation")
    resources:
        gpu=gpu_of_method("propagation"),
    params:
        settings=stage_settings("propagation"),
        # Asking for `threads` keeps a param out of the rerun triggers: this one must make nothing due.
        housekeeping=lambda wildcards, threads: STUDY.methods.housekeeping(
            "propagation", wildcards.method
        ),
        version=VERSIONS["signals"],
        propagation_version=VERSIONS["propagate"],
        labels=lambda wildcards: f"{STUDY.folder}/pseudo/{wildcards.method}/labels.csv",
        clips=STUDY.signals,
        truth=["--truth", STUDY.truth] if STUDY.truth else [],
        truth_scan=truth_scan,
        root=str(STUDY.root),
        classes=STUDY.classes,
        class_digest=STUDY.label_digest,
        results=results_folder,
        cache=lambda wildcards: f"{STUDY.folder}/quality/measured/{wildcards.method}",
    shell:
        "fewframes signals --method {wildcards.method} --settings {params.settings:q}"
        " --housekeeping {params.housekeeping:q} --root {params.root:q} {params.truth:q} --classes {params.classes:q}"
        " --results {params.results:q} --labels {params.labels:q} --clips {params.clips} --threads {threads}"
        " --out {output.table:q} --curve {output.curve:q} --cache {params.cache:q} 2>&1 | tee {log:q}"


rule signals_figure:
    input:
        every_signalled_labels,
        tables=expand("<data>/quality/signals/{method}.csv", method=STUDY.signalled),
        curves=expand("<data>/quality/policy/{method}.csv", method=STUDY.signalled),
    output:
        png=report(
            "<data>/figures/signals.png",
            caption="../workflow/report/signals.rst",
            category="Pseudo-labels",
            labels={"shows": "what predicts their quality"},
        ),
        pdf="<data>/figures/signals.pdf",
    log:
        "<data>/logs/figures/signals.log",
    localrule: True
    params:
        settings=STUDY.label_settings(),
        version=VERSIONS["figures"],
        out=lambda wildcards, output: Path(output.png).with_suffix(""),
        curves=lambda wildcards, input: [
            word for curve in input.curves for word in ("--curve", curve)
        ],
    shell:
        "fewframes figure signals --settings {params.settings:q} --out {params.out:q} {params.curves:q} {input.tables:q}"
        " 2>&1 | tee {log:q}"


rule refinement_quality:
    input:
        index=planned_clips,
        labels=refined_labels_of_method,
        # It tells that a fine label may have changed.
        states=planned_states,
    output:
        table=report(
            "<data>/quality/refinement/{method}.csv",
            caption="../workflow/report/refinement_quality.rst",
            category="Refined labels",
            labels={"shows": "quality of {method}"},
        ),
    log:
        "<data>/logs/quality/refinement-{method}.log",
    params:
        version=VERSIONS["refinement_quality"],
        labels=lambda wildcards: f"{STUDY.folder}/refined/{wildcards.method}/labels.csv",
        root=str(STUDY.root),
        classes=STUDY.classes,
        class_digest=STUDY.label_digest,
        results=results_folder,
    shell:
        "fewframes refinement-quality --method {wildcards.method} --root {params.root:q} --classes {params.classes:q}"
        " --results {params.results:q} --labels {params.labels:q} --out {output.table:q} 2>&1 | tee {log:q}"


rule gallery:
    input:
        index=planned_clips,
        labels=labels_of_method,
    output:
        html=report(
            "<data>/figures/labels-{method}.html",
            caption="../workflow/report/gallery.rst",
            category="Pseudo-labels",
            labels={"shows": "labels of {method}, worst first"},
        ),
    log:
        "<data>/logs/figures/labels-{method}.log",
    params:
        settings=STUDY.label_settings(),
        version=VERSIONS["figures"],
        labels=lambda wildcards: f"{STUDY.folder}/pseudo/{wildcards.method}/labels.csv",
        truth=["--truth", STUDY.truth] if STUDY.truth else [],
        truth_scan=truth_scan,
        root=str(STUDY.root),
        classes=STUDY.classes,
        class_digest=STUDY.class_digest,
        results=results_folder,
    shell:
        "fewframes figure gallery --settings {params.settings:q} --root {params.root:q} {params.truth:q}"
        " --classes {params.classes:q} --results {params.results:q} --labels {params.labels:q} --out {output.html:q}"
        " 2>&1 | tee {log:q}"
