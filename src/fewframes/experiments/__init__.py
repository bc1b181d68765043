"""Which clips, which frames, which labels: the exact samples of every experiment."""
