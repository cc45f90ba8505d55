"""Many files: one process per core, each with a model of its own, `python many_files.py FILE...`."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import edge_har


def activities(path: str) -> str:
    try:
        with edge_har.events(path, edge_har.load_bundle()) as events:
            return ", ".join(f"{e.label} at {e.start_s:.1f} s" for e in events if e.type == "end")
    except edge_har.EdgeHarError as error:
        return str(error)


if __name__ == "__main__":
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:  # a fork copies no threads
        for path, found in zip(sys.argv[1:], pool.map(activities, sys.argv[1:]), strict=True):
            print(f"{path}: {found or 'nothing'}")
