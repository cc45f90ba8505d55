"""Takes edge_har's events over HTTP, checks who sent them, and prints each one once: HOOK_SECRET=...
python webhook_receiver.py
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = (os.environ.get("HOOK_HOST", "127.0.0.1"), int(os.environ.get("HOOK_PORT", "8099")))
SECRET = os.environ["HOOK_SECRET"].encode()
MAX_AGE_S = 300  # older ones may be somebody's recording
seen: set[str] = set()  # of a real receiver: a table in its database


class Hook(BaseHTTPRequestHandler):
    """One POST is one event."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        timestamp = self.headers.get("X-Edge-Har-Timestamp", "0")
        signature = hmac.new(SECRET, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        given = self.headers.get("X-Edge-Har-Signature", "")
        if not hmac.compare_digest(given.encode(), f"sha256={signature}".encode()):
            self.send_error(401)
            return
        if abs(time.time() - int(timestamp)) > MAX_AGE_S:
            self.send_error(400)
            return
        delivery = self.headers["X-Edge-Har-Delivery"]
        if delivery not in seen:  # else it came before, and our answer was lost
            seen.add(delivery)
            event = json.loads(body)
            print(event["type"], event["source"], event["label"], event["start_s"], flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(ADDRESS, Hook)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
