"""Workstation: clips, splits, batches, Keras models, fitting, evaluation."""
