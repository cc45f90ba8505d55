"""Putting bundles on devices: the store and the receiver on the device, the sender over ssh."""

# Hosts at a time. Of 32 connections at once through one sshd a third failed by its MaxStartups; of 8 none.
MAX_PARALLEL = 8
PARALLEL = 4
HOST_TIMEOUT_S = 900.0
REMOTE_COMMAND = "edge-har"
