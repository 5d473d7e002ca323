"""A result by reference is fetched from where it is allowed, as it was put there, and else not at all."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.loopback import serving

from longcall.client import ResultAccess, ResultNotFetched, fetch_result
from longcall.contract import ContractError, DataReference, JsonValue, Succeeded, digest_of
from longcall.transport import FileMissing, TransportRefused
from longcall.transport.files import delete_file, read_file, write_file

DATA = b'{"rows": 12}'
BUCKET = "gs://results/prod"


def reference_to(url: str, data: bytes = DATA) -> Succeeded:
    return Succeeded(reference=DataReference.of(data, url=url), content_type="application/json")


def fetched(url: str, *prefixes: str, data: bytes = DATA) -> JsonValue | bytes:
    return fetch_result(reference_to(url, data), ResultAccess(prefixes=prefixes)).value()


def test_result_below_an_allowed_prefix_is_fetched(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/a/b/result.1"
    write_file(url, DATA)

    assert fetched(url, f"file://{tmp_path}") == {"rows": 12}
    assert fetched(url, "gs://other", f"file://{tmp_path}/a/") == {"rows": 12}


def test_result_on_a_file_system_of_fsspec_is_fetched() -> None:
    write_file("memory://results/x", DATA)

    assert fetched("memory://results/x", "memory://results") == {"rows": 12}


def test_file_that_is_written_again_is_the_new_one_and_deleting_twice_is_no_error(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/x"
    write_file(url, b"of an attempt that died")
    write_file(url, DATA)

    assert read_file(url, max_bytes=100) == DATA
    delete_file(url)
    delete_file(url)
    with pytest.raises(FileMissing):
        read_file(url, max_bytes=100)


@pytest.mark.parametrize("url", ["nonsense://x/y", "zip://a::file:///etc/passwd", "memory://a::memory://b"])
def test_url_that_is_of_no_plain_kind_is_refused(url: str) -> None:
    with pytest.raises(TransportRefused):
        write_file(url, DATA)


def test_nothing_is_allowed_unless_somebody_says_so() -> None:
    with pytest.raises(ResultNotFetched, match=r"there are none.*result_prefixes"):
        fetch_result(reference_to(f"{BUCKET}/x"), ResultAccess())


@pytest.mark.parametrize(
    "url",
    [
        "gs://results/production/x",
        "gs://results/x",
        "gs://results/prod",
        "gs://results/prod/",
        "gs://results/prod//x",
        "gs://results/prod/../x",
        "gs://results/prod/./x",
        "gs://results/prod/%2e%2e/x",
        "gs://results/prod/%252e%252e%252fx",
        "gs://results/prod/..%2fx",
        "gs://results/prod/a%5c..%5cx",
        "gs://results/prod/..\\x",
        "gs://results/prod/x#1",
        "gs://results/prod/x?y",
        "gs://results/prod/\tx",
        "gs://results/prod/x\n",
        "gs://evil@results/prod/x",
        "gs://results.evil/prod/x",
        "gs://RESULTS/prod/x",
        "s3://results/prod/x",
        "simplecache::gs://results/prod/x",
        "gs://results/prod/x::file:///etc/passwd",
        "file:///etc/passwd",
        "/etc/passwd",
        "prod/x",
        "gs:results/prod/x",
        "",
        "gs://[results/prod/x",
    ],
)
def test_what_does_not_lie_below_the_prefix_is_not_fetched(url: str) -> None:
    access = ResultAccess(prefixes=(BUCKET,))
    with pytest.raises(ResultNotFetched) as caught:
        access.check(DataReference(url=url, size_bytes=1, digest=digest_of(b"")))
    assert not caught.value.retryable


@pytest.mark.parametrize("url", [f"{BUCKET}/x", f"{BUCKET}/a/b.1", f"{BUCKET}/a...b", f"{BUCKET}/a%20b"])
def test_what_lies_below_the_prefix_may_be_fetched(url: str) -> None:
    assert ResultAccess(prefixes=(BUCKET,)).check(DataReference.of(DATA, url=url)) == BUCKET


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "/srv",
        "srv",
        "file:///",
        "file://host/srv",
        "file:srv",
        "gs://",
        "gs://u@b",
        "gs://b/x?y",
        "a::b://c",
    ],
)
def test_prefix_that_would_allow_too_much_is_refused(prefix: str) -> None:
    with pytest.raises(ContractError, match="result_prefixes"):
        ResultAccess(prefixes=(prefix,))


def test_links_are_not_followed(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    (allowed / "real").mkdir(parents=True)
    secret.mkdir()
    (secret / "x").write_bytes(DATA)
    (allowed / "file").symlink_to(secret / "x")
    (allowed / "folder").symlink_to(secret)
    (allowed / "within").symlink_to(allowed / "real")
    os.mkfifo(allowed / "pipe")
    (allowed / "real" / "x").write_bytes(DATA)

    for name in ("file", "folder/x", "within/x", "pipe", "real", "missing"):
        with pytest.raises(ResultNotFetched) as caught:
            fetched(f"file://{allowed}/{name}", f"file://{allowed}")
        assert not caught.value.retryable
    assert fetched(f"file://{allowed}/real/x", f"file://{allowed}") == {"rows": 12}


@pytest.mark.parametrize(
    ("said", "lies_there", "why"),
    [
        (DATA, b'{"rows": 13}', "datadigest"),
        (DATA, DATA + b" ", "datasize"),
        (DATA, b"", "datasize"),
        (bytes(101), bytes(101), "max_result_bytes"),
        (DATA, bytes(200), "max_result_bytes"),
    ],
)
def test_what_is_not_as_the_report_says_is_not_used(
    tmp_path: Path, said: bytes, lies_there: bytes, why: str
) -> None:
    url = f"file://{tmp_path}/x"
    write_file(url, lies_there)

    with pytest.raises(ResultNotFetched, match=why):
        fetch_result(reference_to(url, said), ResultAccess(prefixes=(f"file://{tmp_path}",), max_bytes=100))


def test_reference_without_a_digest_is_not_followed() -> None:
    access = ResultAccess(prefixes=(BUCKET,))

    with pytest.raises(ResultNotFetched, match="SHA-256"):
        access.check(DataReference(url=f"{BUCKET}/x", size_bytes=1, digest="md5=:AAAA:"))


def test_result_that_has_expired_is_fetched_while_it_is_there_and_then_its_error_says_so(
    tmp_path: Path,
) -> None:
    url, ended = f"file://{tmp_path}/x", datetime.now(UTC) - timedelta(seconds=1)
    result = Succeeded(reference=DataReference.of(DATA, url=url, expires_time=ended))
    access = ResultAccess(prefixes=(f"file://{tmp_path}",))
    write_file(url, DATA)
    assert fetch_result(result, access).data == DATA

    delete_file(url)

    with pytest.raises(ResultNotFetched, match="was to lie there until"):
        fetch_result(result, access)


class Answers(BaseHTTPRequestHandler):
    """A web server with one result, a redirect away from it, and one that is away for a while."""

    def do_GET(self) -> None:
        status = {"/r/ok": 200, "/r/moved": 302, "/r/busy": 503}.get(self.path.partition("?")[0], 404)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere/ok")
        self.end_headers()
        self.wfile.write(DATA)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_result_on_the_web_is_fetched_and_a_redirect_is_not_followed() -> None:
    with serving(Answers) as base:
        assert fetched(f"{base}/r/ok?signature=s3cret", f"{base}/r") == {"rows": 12}
        for path, is_retryable in (("moved", False), ("missing", False), ("busy", True)):
            with pytest.raises(ResultNotFetched) as caught:
                fetched(f"{base}/r/{path}?signature=s3cret", f"{base}/r")
            assert caught.value.retryable == is_retryable
            assert "s3cret" not in str(caught.value)
    with pytest.raises(ResultNotFetched) as caught:
        fetched(f"{base}/r/ok", f"{base}/r")
    assert caught.value.retryable


def test_result_in_the_report_needs_no_prefix() -> None:
    result = Succeeded.of([1])

    assert fetch_result(result, ResultAccess()) is result
    with pytest.raises(ContractError, match="fetch it first"):
        reference_to(f"{BUCKET}/x").value()
