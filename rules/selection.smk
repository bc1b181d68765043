"""What choosing clips rests on, where an experiment asks for more than chance: measured of every clip, before the plan.

The plan must know the order of the clips, so this stands above every checkpoint, as the preparation does. A measurement
reads frames, so it is no local job; clips whose frames are as they were are found by content.

REQUIRED INPUTS: the dataset's folder; prepare.ran
OUTPUTS: selection/{flow,diversity}.csv; undeclared, since they must outlive a failure, what was measured before in selection/kept/
"""


rule selection:
    input:
        generated_dataset,
        "<data>/prepare.ran",
    output:
        measured="<data>/selection/{selection}.csv",
    log:
        "<data>/logs/selection/{selection}.log",
    wildcard_constraints:
        selection="flow|diversity",
    threads: 4
    params:
        settings=STUDY.prepare_settings(),
        scan=dataset_scan,
        class_digest=STUDY.class_digest,
        version=VERSIONS["selection"],
        results=results_folder,
    shell:
        "fewframes selection {wildcards.selection} --settings {params.settings:q} --results {params.results:q}"
        " --out {output.measured:q} --workers {threads} 2>&1 | tee {log:q}"
