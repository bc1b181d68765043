"""What the runs say: statistics, costs, tables and figures. The last wing; nothing here imports torch."""
