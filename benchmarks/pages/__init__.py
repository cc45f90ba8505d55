"""A module per generated page."""
