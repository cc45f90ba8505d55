"""Smaller models: pruning, shrinking, quantisation-aware training."""
