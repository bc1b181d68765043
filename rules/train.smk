"""Training: one network on one manifest with one seed.

REQUIRED INPUTS: manifests/<experiment>/draw<j>.csv; published backbone weights, and the model of a teacher, where the config names them
OUTPUTS: runs/<network>/<experiment>/draw<j>-seed<k>/model.safetensors; undeclared, checkpoints in checkpoints/ beside
it, from which a killed training goes on
"""


rule train:
    input:
        training_inputs,
    output:
        model="<data>/runs/{network}/{experiment}/draw{draw}-seed{seed}/model.safetensors",
    log:
        "<data>/logs/train/{network}/{experiment}/draw{draw}-seed{seed}.log",
    benchmark:
        "<data>/benchmarks/train/{network}/{experiment}/draw{draw}-seed{seed}.tsv"
    threads: 1
    resources:
        gpu=lambda wildcards: STUDY.trainings.gpus(wildcards.network),
    params:
        settings=lambda wildcards: STUDY.trainings.settings(
            wildcards.network, run_of(wildcards)
        ),
        # No input: a second input function beside the checkpoint's makes Snakemake train whenever the plan runs.
        pretrained=lambda wildcards: STUDY.trainings.stamp(wildcards.network),
        # Asking for `threads` keeps a param out of the rerun triggers: this one must make nothing due.
        housekeeping=lambda wildcards, threads: STUDY.trainings.housekeeping(
            wildcards.network
        ),
        device=lambda wildcards, threads: STUDY.trainings.device(wildcards.network),
        version=VERSIONS["train"],
        root=str(STUDY.root),
        classes=STUDY.classes,
        class_digest=STUDY.label_digest,
        results=results_folder,
        # Named here too, so that the command reads this file whatever Snakemake took for its input.
        manifest=manifest_of_run,
        out=lambda wildcards, output: Path(output.model).parent,
        checkpoints=lambda wildcards, output: Path(output.model).parent / "checkpoints",
    shell:
        # The shell and tee must outlive the signal on which a training saves its state.
        "trap '' USR1; fewframes train --manifest {params.manifest:q} --settings {params.settings:q}"
        " --housekeeping {params.housekeeping:q} --root {params.root:q} --classes {params.classes:q}"
        " --results {params.results:q} --seed {wildcards.seed} --threads {threads} --device {params.device} --out {params.out:q}"
        " --checkpoints {params.checkpoints:q} 2>&1 | tee {log:q}"
