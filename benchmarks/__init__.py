"""Workstation: accuracy by held-out people, latency of every form, the shipped model, limits."""
