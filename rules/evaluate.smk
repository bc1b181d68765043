"""Evaluation: one dataset-wide confusion matrix a run, kept image by image; a job scores all runs of an experiment.

A job's outputs are deleted before it runs, and it runs where one of its runs was trained again: so what was counted is
kept beside them, undeclared, and only what changed is counted anew.

REQUIRED INPUTS: the model.safetensors of an experiment's runs with a network, manifests/evaluation.csv
OUTPUTS: runs/<network>/<experiment>/draw<j>-seed<k>/{confusion.npz,metrics.csv,groups.csv,paths.csv}; undeclared beside
them, scored.npz
"""


rule evaluate:
    input:
        models=expand(
            "<data>/runs/{{network}}/{{experiment}}/draw{draw}-seed{seed}/model.safetensors",
            draw=ALL_RUNS[0],
            seed=ALL_RUNS[1],
        ),
        # Both kinds of manifest come through their checkpoints: what lies below one must, or it is decided too early.
        trained_on=trained_manifests(ALL_RUNS[0]),
        manifest=evaluation_manifest,
    output:
        expand(
            "<data>/runs/{{network}}/{{experiment}}/draw{draw}-seed{seed}/{name}",
            draw=ALL_RUNS[0],
            seed=ALL_RUNS[1],
            name=SCORES,
        ),
    log:
        "<data>/logs/evaluate/{network}/{experiment}.log",
    benchmark:
        "<data>/benchmarks/evaluate/{network}/{experiment}.tsv"
    wildcard_constraints:
        experiment=experiments_of(ALL_RUNS),
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
        runs=models_and_scores,
    shell:
        "fewframes evaluate {params.runs:q} --manifest {params.manifest:q} --settings {params.settings:q}"
        " --root {params.root:q} --classes {params.classes:q} --results {params.results:q} --threads {threads}"
        " --device {params.device} 2>&1 | tee {log:q}"


if UNDRAWN_RUNS != ALL_RUNS:

    # The same of an experiment that leaves nothing to the draw: it is run in the first alone, with seeds of its own.
    use rule evaluate as evaluate_once with:
        input:
            models=expand(
                "<data>/runs/{{network}}/{{experiment}}/draw{draw}-seed{seed}/model.safetensors",
                draw=UNDRAWN_RUNS[0],
                seed=UNDRAWN_RUNS[1],
            ),
            trained_on=trained_manifests(UNDRAWN_RUNS[0]),
            manifest=evaluation_manifest,
        output:
            expand(
                "<data>/runs/{{network}}/{{experiment}}/draw{draw}-seed{seed}/{name}",
                draw=UNDRAWN_RUNS[0],
                seed=UNDRAWN_RUNS[1],
                name=SCORES,
            ),
        wildcard_constraints:
            experiment=experiments_of(UNDRAWN_RUNS),
