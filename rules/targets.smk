"""What one asks Snakemake for by name, beside `all`: a part of it."""


rule labels:
    input:
        every_labels,
    localrule: True


rule manifests:
    input:
        every_manifest,
    localrule: True


rule quality_tables:
    input:
        quality_files(),
    localrule: True


rule tables:
    input:
        table_files(),
    localrule: True


rule figures:
    input:
        figure_files(),
    localrule: True
