"""The dataset and the plan.

REQUIRED INPUTS: the dataset's folder (or, for toy city, nothing).
OUTPUTS: index.csv, eligible.csv, corrected.csv, states.csv, shards/{propagate,refine}/NNNN.csv; undeclared, since they must
outlive a failure, prepared/ and left_out.csv
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


rule prepare:
    input:
        generated_dataset,
    output:
        # Not the prepared files: Snakemake would delete them before each run, and with them what need not be redone.
        ran="<data>/prepare.ran",
    log:
        "<data>/logs/prepare.log",
    threads: 4
    params:
        settings=STUDY.prepare_settings(),
        scan=dataset_scan,
        truth_scan=prepared_truth_scan,
        class_digest=STUDY.class_digest,
        version=VERSIONS["prepare"],
        results=results_folder,
    shell:
        "fewframes prepare --settings {params.settings:q} --results {params.results:q} --workers {threads}"
        " 2>&1 | tee {log:q} && date +%s.%N > {output.ran:q}"


checkpoint plan:
    input:
        generated_dataset,
        "<data>/prepare.ran",
        selection_files(),
    output:
        index="<data>/index.csv",
        eligible="<data>/eligible.csv",
        corrected="<data>/corrected.csv",
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
        corrections_scan=corrections_scan,
        class_digest=STUDY.class_digest,
        version=VERSIONS["plan"],
        out=results_folder,
    shell:
        "fewframes needs --settings {params.settings:q} --out {params.out:q}"
        " 2>&1 | tee {log:q} && date +%s.%N > {output.ran:q}"
