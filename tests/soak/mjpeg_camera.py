"""A camera of a soak that sends motion JPEG to who logs in with a digest of ALGORITHM:
`python -m tests.soak.mjpeg_camera PACK PORT EPOCH JOURNAL ALGORITHM`.
"""

from __future__ import annotations

import random
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.helpers.fuzz_mjpeg import WORDS
from tests.helpers.fuzzing import damaged
from tests.helpers.http_auth import LoginGate, digest
from tests.helpers.mjpeg import BOUNDARY, refuse_login
from tests.soak.show import Journal, Show, follow

DAMAGED_SHARE = 0.6  # of the pictures, while bytes are changed
USER, PASSWORD = "viewer", "s3cret:ö"


class Server(ThreadingHTTPServer):
    """Serves one show to all clients."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, show: Show, journal: Path, algorithm: str) -> None:
        super().__init__(("127.0.0.1", port), Camera)
        self.show = show
        self.journal = journal
        # A nonce is good for one login, so that each connection has a new one to compute with.
        self.gate = LoginGate(
            [digest(algorithm)], f"Digest,{algorithm}", user=USER.encode(), password=PASSWORD.encode(), uses=1
        )
        self.rng = random.Random(port)

    def part(self, picture: bytes) -> bytes:
        """A picture as it is sent, and damaged where a fault requires it."""
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
        content = head + picture + b"\r\n"
        if self.show.damaged and self.rng.random() < DAMAGED_SHARE:
            return damaged(self.rng, content, WORDS)
        return content

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


class Camera(BaseHTTPRequestHandler):
    """Sends pictures until the client goes away."""

    server: Server

    def do_GET(self) -> None:
        challenges = self.server.gate(self.command, self.path, self.headers.get("Authorization"))
        if challenges:
            refuse_login(self, challenges)
            return
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self.end_headers()
        server, show = self.server, self.server.show
        follow(
            show,
            Journal(show, server.journal),
            lambda number, size: self.wfile.write(server.part(show.picture(number, size))),
        )

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def main() -> None:
    """Serve until standard input ends."""
    pack, port, epoch_s, journal, algorithm = sys.argv[1:]
    show = Show(Path(pack), float(epoch_s))
    server = Server(int(port), show, Path(journal), algorithm)
    show.obey()
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
