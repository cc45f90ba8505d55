"""Clips: which there are, who is in them, how they become batches."""
