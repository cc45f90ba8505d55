"""The configuration file of a run."""
