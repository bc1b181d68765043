"""Keeping results: everything that tables rest on read again and held against what is recorded, and what nobody uses.

`verify` reads from the tables down to the dataset's files and says what is missing, changed, stale or cannot be told;
`mend` makes room for the broken pieces, so that Snakemake makes just these again; `prune` removes what nothing uses.
"""

from __future__ import annotations
