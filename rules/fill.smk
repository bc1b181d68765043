"""Filling over rounds: unlabelled pixels of propagated labels get the predictions of a trained network.

A round rests on a training, and the next round's training on it: so the manifest of each filled experiment and draw is a
checkpoint of its own, below that of the experiment which it is filled by.

REQUIRED INPUTS: the manifest of the labels to fill; model.safetensors of the run that fills
OUTPUTS: filled/<experiment>/draw<j>.csv, manifests/<experiment>/draw<j>.csv; undeclared, one label file a clip in
filled/<experiment>/labels/
"""

if STUDY.families["filled"]:

    rule fill:
        input:
            filling_inputs,
        output:
            labels="<data>/filled/{experiment}/draw{draw}.csv",
        log:
            "<data>/logs/fill/{experiment}/draw{draw}.log",
        benchmark:
            "<data>/benchmarks/fill/{experiment}/draw{draw}.tsv"
        threads: 1
        resources:
            gpu=int(STUDY.evaluation_device != "cpu"),
        params:
            settings=STUDY.filling_settings(),
            # Asking for `threads` keeps a param out of the rerun triggers: this one must make nothing due.
            device=lambda wildcards, threads: STUDY.evaluation_device,
            version=VERSIONS["fill"],
            root=str(STUDY.root),
            classes=STUDY.classes,
            class_digest=STUDY.label_digest,
            results=results_folder,
            # Named here too, so that the command reads these files whatever Snakemake took for its input.
            model=filling_model,
            manifest=unfilled_manifest,
            folder=lambda wildcards: f"{STUDY.folder}/filled/{wildcards.experiment}/labels",
        shell:
            "fewframes fill --model {params.model:q} --manifest {params.manifest:q} --settings {params.settings:q}"
            " --root {params.root:q} --classes {params.classes:q} --results {params.results:q}"
            " --labels {params.folder:q} --threads {threads} --device {params.device} --out {output.labels:q}"
            " 2>&1 | tee {log:q}"

    checkpoint manifest_filled:
        input:
            planned_before_filling,
            labels="<data>/filled/{experiment}/draw{draw}.csv",
        output:
            manifest="<data>/manifests/{experiment}/draw{draw}.csv",
            ran="<data>/filled/{experiment}/draw{draw}.ran",
        log:
            "<data>/logs/manifests/{experiment}/draw{draw}.log",
        wildcard_constraints:
            experiment="|".join(e.id for e in STUDY.families["filled"]),
        localrule: True
        params:
            version=VERSIONS["manifests"],
            root=str(STUDY.root),
            results=results_folder,
            manifest=unfilled_manifest,
        shell:
            "fewframes filled-manifest --manifest {params.manifest:q} --labels {input.labels:q} --root {params.root:q}"
            " --results {params.results:q} --out {output.manifest:q} 2>&1 | tee {log:q}"
            " && date +%s.%N > {output.ran:q}"
