"""The forecast: what a study will cost before anything runs - jobs, GPU-hours, disk, and days on so many GPUs."""
