"""The compact SAM and SAM 2 that Fewframes ships: the pictures they learn from, and their training."""
