"""Weights: published files, fetched and verified where there is network, never on a compute node.

OUTPUTS: weights/<name>.fetched; undeclared, since Snakemake would delete it before fetching again, the file of weights
itself in the config's folder of weights
"""


rule weights:
    output:
        fetched="<data>/weights/{name}.fetched",
    log:
        "<data>/logs/weights/{name}.log",
    wildcard_constraints:
        name="|".join(map(re.escape, registry())),
    localrule: True
    params:
        folder=lambda wildcards: STUDY.methods.weights_folder,
    shell:
        "fewframes fetch {wildcards.name:q} --folder {params.folder:q} 2>&1 | tee {log:q}"
        " && date +%s.%N > {output.fetched:q}"
