"""Workstation: accuracy by people left out, latency of every form, the shipped model, limits."""
