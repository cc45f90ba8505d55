"""Proof that a conversion computes what the float model does."""
