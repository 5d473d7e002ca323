"""An issuer of ID tokens like Google's: keys of its own, certificates on a loopback address."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt
from tests.e2e.processes import WAIT_S

__all__ = ["AUDIENCE", "CALLER", "Issuer", "Key", "key", "running_issuer"]

AUDIENCE = "https://digits.example"
CALLER = "airflow@my-project.iam.gserviceaccount.com"


class Key:
    """A private key and its certificate."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self._key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def token(self, *, header: dict[str, str] | None = None, **claims: Any) -> str:
        """Sign a token that is good, but for what the arguments change; None leaves a claim out."""
        now = int(time.time())
        payload = {
            "iss": "https://accounts.google.com",
            "aud": AUDIENCE,
            "sub": "1234567890",
            "email": CALLER,
            "email_verified": True,
            "iat": now - 10,
            "exp": now + 3600,
        } | claims
        private = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        signer = crypt.RSASigner.from_string(private.decode(), self.id)
        kept = {name: value for name, value in payload.items() if value is not None}
        return bytes(jwt.encode(signer, kept, header=dict(header or {}))).decode()


@cache
def key(id_: str) -> Key:
    """Return the key of that name, the same each time: to make one takes a second."""
    return Key(id_)


@dataclass
class Issuer:
    """Serves certificates; what it answers can be changed."""

    key: Key
    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Cache-Control": "public, max-age=3600"})
    body: bytes | None = None
    hold: threading.Event | None = None
    _requests: int = 0
    _asked: threading.Condition = field(default_factory=threading.Condition)

    @property
    def asked(self) -> int:
        return self._requests

    def note_request(self) -> None:
        with self._asked:
            self._requests += 1
            self._asked.notify_all()

    async def wait_until_asked(self, times: int) -> None:
        def wait() -> bool:
            with self._asked:
                return self._asked.wait_for(lambda: self._requests >= times, WAIT_S)

        assert await asyncio.to_thread(wait)

    def answer(self) -> bytes:
        return (
            self.body if self.body is not None else json.dumps({self.key.id: self.key.certificate}).encode()
        )


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """Serve until left."""
    issuer = Issuer(key("the-first"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.note_request()
            if issuer.hold is not None:
                issuer.hold.wait(WAIT_S)
            body = issuer.answer()
            self.send_response(issuer.status)
            for name, value in {**issuer.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}/certs"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
