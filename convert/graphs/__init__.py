"""The Keras graphs that become TFLite files."""
