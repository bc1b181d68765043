"""Fewframes: from raw clips and a few annotated frames to tables of what each annotation hour bought.

Data flows through the files of rules/ in the order they are included here. `config.yaml` as it stands runs
the demo; give another with `--configfile`, which then replaces it.
"""

from snakemake.utils import min_version

min_version("9.25")


if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/shown.smk"
include: "rules/declared.smk"


pathvars:
    data=STUDY.folder,


report: "workflow/report/workflow.rst"


# Built from envs/fewframes.def; used with `--sdm apptainer` only.
container: "envs/fewframes.sif"


include: "rules/selection.smk"
include: "rules/plan.smk"
include: "rules/weights.smk"
include: "rules/propagate.smk"
include: "rules/refine.smk"
include: "rules/manifests.smk"
include: "rules/fill.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/quality.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/report.smk"
include: "rules/targets.smk"


rule all:
    default_target: True
    input:
        plan_files(),
        label_files(),
        manifest_files(),
        run_files(),
        quality_files(),
        signal_files(),
        refinement_files(),
        gallery_files(),
        table_files(),
        figure_files(),
        site_files(),
    localrule: True
