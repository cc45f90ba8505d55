"""Recognise human activity on the edge: camera to events on the device."""

__version__ = "0.1.0"
