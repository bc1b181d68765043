"""Refinement: better labels out of coarse ones.

REQUIRED INPUTS: shards/refine/NNNN.csv
OUTPUTS: refined/<method>/NNNN.csv, gathered in refined/<method>/labels.csv; undeclared beside them, one label file an image in refined/<method>/labels/
"""


rule refine:
    input:
        shard=planned_shard("refine"),
        weights=weights_of_method("refinement"),
    output:
        labels="<data>/refined/{method}/{shard}.csv",
    log:
        "<data>/logs/refine/{method}/{shard}.log",
    benchmark:
        "<data>/benchmarks/refine/{method}/{shard}.tsv"
    threads: threads_of_method("refinement")
    resources:
        gpu=gpu_of_method("refinement"),
    params:
        settings=stage_settings("refinement"),
        # Asking for `threads` keeps a param out of the rerun triggers: this one must make nothing due.
        housekeeping=lambda wildcards, threads: STUDY.methods.housekeeping(
            "refinement", wildcards.method
        ),
        version=VERSIONS["refine"],
        root=str(STUDY.root),
        classes=STUDY.classes,
        class_digest=STUDY.refined_digest,
        results=results_folder,
    shell:
        "fewframes refine --shard {input.shard:q} --method {wildcards.method} --settings {params.settings:q}"
        " --housekeeping {params.housekeeping:q} --root {params.root:q} --classes {params.classes:q} --results {params.results:q} --out {output.labels:q}"
        " --threads {threads} 2>&1 | tee {log:q}"


checkpoint collect_refined:
    input:
        planned_run,
        shards=shards_of_method("refined"),
    output:
        labels="<data>/refined/{method}/labels.csv",
        ran="<data>/refined/{method}/labels.ran",
    log:
        "<data>/logs/refined/{method}.log",
    localrule: True
    shell:
        "fewframes collect --out {output.labels:q} {input.shards:q} 2>&1 | tee {log:q}"
        " && date +%s.%N > {output.ran:q}"
