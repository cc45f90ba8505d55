"""What `make bench-check` holds."""
