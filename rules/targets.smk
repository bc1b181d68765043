"""What one asks Snakemake for by name, beside `all`: a part of it. Tables and figures have a target each (see shown.smk)."""


rule labels:
    input:
        plan_files(),
        label_files(),
    localrule: True


rule manifests:
    input:
        plan_files(),
        label_files(),
        manifest_files(),
    localrule: True


rule quality:
    input:
        quality_target,
    localrule: True


rule tables:
    input:
        plan_files(),
        label_files(),
        manifest_files(),
        run_files(),
        table_files(),
    localrule: True


rule claims:
    input:
        claims_target,
    localrule: True


rule figures:
    input:
        plan_files(),
        label_files(),
        manifest_files(),
        run_files(),
        figure_files(),
    localrule: True


rule paper:
    input:
        plan_files(),
        label_files(),
        manifest_files(),
        run_files(),
        shown_files(),
        paper_files,
        site_files(),
    localrule: True


for _name in (*TABLES, *SHEETS, *CURVES):

    rule:
        name:
            _name
        input:
            target(_name),
        localrule: True
