"""A certificate of 127.0.0.1 that signs itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.helpers.need import need_program


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Paths of the certificate and its key."""
    certificate, key = folder / "server.crt", folder / "server.key"
    command = [
        need_program("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]
    command += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=edge-har test",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key
