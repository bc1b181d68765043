"""Propagation: one annotated frame's labels carried to its neighbours.

REQUIRED INPUTS: shards/propagate/NNNN.csv
OUTPUTS: pseudo/<method>/NNNN.csv, gathered in pseudo/<method>/labels.csv; undeclared beside them, one label file a clip in pseudo/<method>/labels/
"""


rule propagate:
    input:
        shard=planned_shard("propagate"),
        weights=weights_of_method("propagation"),
    output:
        labels="<data>/pseudo/{method}/{shard}.csv",
    log:
        "<data>/logs/propagate/{method}/{shard}.log",
    benchmark:
        "<data>/benchmarks/propagate/{method}/{shard}.tsv"
    threads: threads_of_method("propagation")
    resources:
        gpu=gpu_of_method("propagation"),
    params:
        settings=stage_settings("propagation"),
        # Asking for `threads` keeps a param out of the rerun triggers: this one must make nothing due.
        housekeeping=lambda wildcards, threads: STUDY.methods.housekeeping(
            "propagation", wildcards.method
        ),
        version=VERSIONS["propagate"],
        root=str(STUDY.root),
        classes=STUDY.classes,
        class_digest=STUDY.label_digest,
        results=results_folder,
    shell:
        "fewframes propagate --shard {input.shard:q} --method {wildcards.method} --settings {params.settings:q}"
        " --housekeeping {params.housekeeping:q} --root {params.root:q} --classes {params.classes:q} --results {params.results:q} --out {output.labels:q}"
        " --threads {threads} 2>&1 | tee {log:q}"


checkpoint collect_pseudo:
    input:
        planned_run,
        shards=shards_of_method("pseudo"),
    output:
        labels="<data>/pseudo/{method}/labels.csv",
        ran="<data>/pseudo/{method}/labels.ran",
    log:
        "<data>/logs/pseudo/{method}.log",
    localrule: True
    shell:
        "fewframes collect --out {output.labels:q} {input.shards:q} 2>&1 | tee {log:q}"
        " && date +%s.%N > {output.ran:q}"
