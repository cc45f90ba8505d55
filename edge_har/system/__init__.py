"""Files and memory of this machine; imports nothing else of edge_har but its errors."""
