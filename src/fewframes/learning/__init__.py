"""Networks, samples, training and evaluation."""
