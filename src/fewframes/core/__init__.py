"""What every other wing stands on: labels, clips, label files, images, flow, metrics."""
