"""Evaluation: one dataset-wide confusion matrix a run, kept image by image.

REQUIRED INPUTS: a run's model.safetensors, manifests/evaluation.csv
OUTPUTS: runs/<network>/<experiment>/draw<j>-seed<k>/{confusion.npz,metrics.csv,groups.csv,paths.csv}
"""


rule evaluate:
    input:
        model="<data>/runs/{network}/{experiment}/draw{draw}-seed{seed}/model.safetensors",
        # Both manifests come through their checkpoints: what lies below one must, or it is decided too early.
        trained_on=training_manifest,
        manifest=evaluation_manifest,
    output:
        confusion="<data>/runs/{network}/{experiment}/draw{draw}-seed{seed}/confusion.npz",
        metrics="<data>/runs/{network}/{experiment}/draw{draw}-seed{seed}/metrics.csv",
        groups="<data>/runs/{network}/{experiment}/draw{draw}-seed{seed}/groups.csv",
        paths="<data>/runs/{network}/{experiment}/draw{draw}-seed{seed}/paths.csv",
    log:
        "<data>/logs/evaluate/{network}/{experiment}/draw{draw}-seed{seed}.log",
    threads: 1
    resources:
        gpu=int(STUDY.evaluation_device != "cpu"),
    params:
        settings=lambda wildcards: STUDY.evaluation_settings(wildcards.network),
        device=lambda wildcards, threads: STUDY.evaluation_device,
        version=VERSIONS["evaluate"],
        root=str(STUDY.root),
        classes=STUDY.classes,
        class_digest=STUDY.scored_digest,
        results=results_folder,
        manifest=f"{STUDY.folder}/manifests/evaluation.csv",
        out=lambda wildcards, output: Path(output.metrics).parent,
    shell:
        "fewframes evaluate --model {input.model:q} --manifest {params.manifest:q} --settings {params.settings:q}"
        " --root {params.root:q} --classes {params.classes:q} --results {params.results:q} --threads {threads}"
        " --device {params.device}"
        " --out {params.out:q} 2>&1 | tee {log:q}"
