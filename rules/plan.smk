"""The dataset and the plan.

REQUIRED INPUTS: the dataset's folder (or, for toy city, nothing).
OUTPUTS: index.csv, eligible.csv, states.csv, shards/{propagate,refine}/NNNN.csv
"""


rule toycity:
    output:
        marker=f"{STUDY.root}/toycity.json",
    log:
        "<data>/logs/toycity.log",
    threads: 2
    params:
        settings=STUDY.toycity_settings(),
        root=lambda wildcards, output: Path(output.marker).parent,
        version=VERSIONS["toycity"],
    shell:
        "fewframes toycity {params.root:q} --settings {params.settings:q} --workers {threads} 2>&1 | tee {log:q}"


checkpoint plan:
    input:
        generated_dataset,
    output:
        index="<data>/index.csv",
        eligible="<data>/eligible.csv",
        states="<data>/states.csv",
        propagate=expand("<data>/shards/propagate/{shard}.csv", shard=STUDY.shards),
        refine=expand("<data>/shards/refine/{shard}.csv", shard=STUDY.shards),
        ran="<data>/plan.ran",
    log:
        "<data>/logs/plan.log",
    localrule: True
    params:
        settings=STUDY.plan_settings(),
        scan=dataset_scan,
        version=VERSIONS["plan"],
        out=results_folder,
    shell:
        "fewframes plan --settings {params.settings:q} --out {params.out:q}"
        " 2>&1 | tee {log:q} && date +%s.%N > {output.ran:q}"
