"""What one asks Snakemake for by name, beside `all`: a part of it."""


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


rule quality_tables:
    input:
        plan_files(),
        label_files(),
        quality_files(),
        signal_files(),
        refinement_files(),
        gallery_files(),
    localrule: True


rule tables:
    input:
        plan_files(),
        label_files(),
        manifest_files(),
        run_files(),
        table_files(),
    localrule: True


rule figures:
    input:
        plan_files(),
        label_files(),
        manifest_files(),
        run_files(),
        figure_files(),
    localrule: True
