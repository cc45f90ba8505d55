"""Health of the container: exit 0 while the page of `edge-har run --web` reports that all is well, else 1."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("EDGE_HAR_HEALTH_URL", "http://127.0.0.1:8080/healthz")
TIMEOUT_S = 4


def main() -> int:
    """Ask the page, with the token of EDGE_HAR_WEB_TOKEN where there is one; the reason is one line."""
    request = urllib.request.Request(URL)
    if token := os.environ.get("EDGE_HAR_WEB_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return 0
    except (urllib.error.URLError, OSError, ValueError) as error:
        print(f"{URL}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
