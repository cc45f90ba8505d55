"""What is wrong with a machine that is to run edge_har, and what to do about it."""
