"""SAM 2's automatic masks: a grid of point prompts over an image, what passes the filters, no mask twice."""
