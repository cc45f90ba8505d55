"""Events in asyncio: the model runs in another thread, `python asyncio_events.py rtsp://HOST/stream`."""

import asyncio
import sys

import edge_har


async def follow(source: str) -> None:
    with edge_har.events(source, edge_har.load_bundle()) as events:
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            print(event.type, event.label or event.source)


asyncio.run(follow(sys.argv[1]))
