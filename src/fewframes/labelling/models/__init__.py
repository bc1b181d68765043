"""The foundation models that labelling uses: which weights and configuration a study names, built and loaded."""
