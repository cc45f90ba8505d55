"""From Keras graphs to TFLite files."""
