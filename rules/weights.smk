"""Weights: published files, fetched and verified where there is network, never on a compute node.

OUTPUTS: weights/<file>; resumed where a download was cut (`<file>.part`)
"""


rule weights:
    output:
        file=f"{STUDY.weights}/{{file}}",
    log:
        f"{STUDY.folder}/logs/weights/{{file}}.log",
    wildcard_constraints:
        file="|".join(map(re.escape, PUBLISHED)) or "none",
    localrule: True
    params:
        name=lambda wildcards: PUBLISHED[wildcards.file],
        folder=lambda wildcards, output: Path(output.file).parent,
    shell:
        "fewframes fetch {params.name:q} --folder {params.folder:q} 2>&1 | tee {log:q}"
