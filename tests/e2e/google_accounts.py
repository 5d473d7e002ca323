"""Google's side of a login, on loopback: metadata server, token endpoint, IAM credentials, certificates.

It hands out access tokens that it knows again, and ID tokens that `longcall.service` can verify. Nobody
impersonates an account that has not granted it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import iam, jwt
from google.auth.compute_engine import _metadata
from tests.e2e.identities import Key, key

__all__ = ["MACHINE", "GoogleAccounts", "running_google"]

MACHINE = "machine@my-project.iam.gserviceaccount.com"
_IAM_PATH = re.compile(r"/v1/projects/-/serviceAccounts/([^:]+):(generateIdToken|generateAccessToken)")


@dataclass
class GoogleAccounts:
    """What it knows and what it was asked.

    Attributes:
        grants: account -> those who may impersonate it.
        lifetime_s: of ID tokens.
        down: it answers 503 to whatever it is asked.
        asked: kinds of token, each with its account, in order.
    """

    url: str = ""
    key: Key = field(default_factory=lambda: key("the-first"))
    grants: dict[str, set[str]] = field(default_factory=dict)
    lifetime_s: float = 3600.0
    down: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    _private: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    @property
    def certificates_url(self) -> str:
        return f"{self.url}/certs"

    @property
    def address(self) -> str:
        return urlsplit(self.url).netloc

    def key_file(self, folder: Path, email: str) -> Path:
        """Write a service account's key, as one downloads it."""
        path = folder / "key.json"
        path.write_text(json.dumps(self.key_info(email)))
        return path

    def key_info(self, email: str) -> dict[str, str]:
        pem = self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": email,
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }

    def redirect(self, patch: pytest.MonkeyPatch, empty: Path) -> None:
        """Let google-auth in this process take it for Google, on a machine with an account of its own."""
        patch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        patch.setenv("CLOUDSDK_CONFIG", str(empty))
        patch.setenv("GCE_METADATA_IP", self.address)
        patch.setattr(_metadata, "_GCE_METADATA_HOST", self.address)
        for name in ("_IAM_ENDPOINT", "_IAM_IDTOKEN_ENDPOINT"):
            ours = getattr(iam, name).replace("https://iamcredentials.googleapis.com", self.url)
            patch.setattr(iam, name, ours)

    def id_token(self, email: str, audience: str) -> str:
        now = int(time.time())
        self.asked.append(("id", email))
        return self.key.token(email=email, aud=audience, iat=now, exp=now + int(self.lifetime_s))

    # What it answers.

    def get(self, path: str, query: dict[str, list[str]], headers: dict[str, str]) -> tuple[int, bytes | str]:
        if path == "/certs":
            return 200, json.dumps({self.key.id: self.key.certificate})
        if headers.get("metadata-flavor") != "Google":
            return 403, "no metadata without the header"
        if path == "/":
            return 200, "computeMetadata/"
        account = "/computeMetadata/v1/instance/service-accounts/default/"
        match path.removeprefix(account):
            case "identity":
                return 200, self.id_token(MACHINE, query["audience"][0])
            case "token":
                self.asked.append(("access", MACHINE))
                return 200, json.dumps({"access_token": f"access {MACHINE}", "expires_in": 3600})
            case "":
                return 200, json.dumps(
                    {"email": MACHINE, "scopes": ["cloud-platform"], "aliases": ["default"]}
                )
        return (200, "my-project") if path.endswith("/project/project-id") else (404, "")

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes | str]:
        if path == "/token":
            return self._exchange(parse_qs(body.decode())["assertion"][0])
        found = _IAM_PATH.fullmatch(path)
        return self._impersonate(found[1], found[2], json.loads(body), headers) if found else (404, "{}")

    def _exchange(self, assertion: str) -> tuple[int, str]:
        public = self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        claims = jwt.decode(assertion, certs=public)
        if audience := claims.get("target_audience"):
            return 200, json.dumps({"id_token": self.id_token(claims["iss"], audience)})
        self.asked.append(("access", claims["iss"]))
        answer = {"access_token": f"access {claims['iss']}", "expires_in": 3600, "token_type": "Bearer"}
        return 200, json.dumps(answer)

    def _impersonate(
        self, target: str, kind: str, asked: dict[str, Any], headers: dict[str, str]
    ) -> tuple[int, str]:
        caller = headers.get("authorization", "").removeprefix("Bearer access ")
        for account in [*(asked.get("delegates") or []), target]:
            if caller not in self.grants.get(account, set()):
                denied = f"Permission 'iam.serviceAccounts.getOpenIdToken' denied on {account} for {caller}"
                return 403, json.dumps(
                    {"error": {"code": 403, "message": denied, "status": "PERMISSION_DENIED"}}
                )
            caller = account
        if kind == "generateIdToken":
            assert asked["includeEmail"] is True
            return 200, json.dumps({"token": self.id_token(target, asked["audience"])})
        self.asked.append(("access", target))
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return 200, json.dumps({"accessToken": f"access {target}", "expireTime": expires})


@contextmanager
def running_google() -> Iterator[GoogleAccounts]:
    """Serve until left."""
    google = GoogleAccounts()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._answer(lambda: google.get(parts.path, parse_qs(parts.query), headers))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._answer(lambda: google.post(self.path, body, headers))

        def _answer(self, make: Any) -> None:
            status, text = (503, "down") if google.down else make()
            body = text.encode()
            self.send_response(status)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Type", "application/json" if text[:1] in "{[" else "application/text")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    google.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield google
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
