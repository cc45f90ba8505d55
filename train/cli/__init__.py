"""The workstation commands `data` and `train`."""
