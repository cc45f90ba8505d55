"""A camera: what begins and ends, until Ctrl-C, `python camera.py 0`."""

import signal
import sys

import edge_har

with edge_har.events(sys.argv[1], edge_har.load_bundle()) as events:
    signal.signal(signal.SIGINT, lambda *_: events.stop())
    for event in events:
        if event.type != "update":
            print(event.time, event.type, event.label or event.source, flush=True)
