"""Figures: curves of scores, and sheets of labelled images. Equal inputs give equal bytes."""
