"""Recognise human activity on the edge: camera to events on the device."""

__version__ = "0.1.0"
# The names of threads that may hang in a library: those that read sources, and the one that recognises.
CAPTURE_THREAD, WORK_THREAD = "capture", "work"
