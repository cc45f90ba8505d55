"""Recognise human activity on the edge: camera to events on the device."""

__version__ = "0.1.0"
CAPTURE_THREAD = "capture"  # the name of threads that read sources, and may hang in their libraries
