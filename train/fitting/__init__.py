"""Train a model on clips and measure it."""
