"""Tests of whole systems, which take minutes: `make test-system` runs them and writes the page."""
