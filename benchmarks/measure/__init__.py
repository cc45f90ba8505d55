"""Measurements, and where they were made."""
