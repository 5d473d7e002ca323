"""What an HTTP connection says of the login."""

from __future__ import annotations

import pytest

from longcall.airflow.service_login import (
    BearerToken,
    GoogleIdToken,
    ServiceLogin,
    StockLogin,
    origin_of,
    read_login,
)
from longcall.contract import ContractError

URL = "https://digits.example"


def read(
    url: str = URL, *, login: str | None = None, password: str | None = None, **extra: object
) -> ServiceLogin:
    return read_login("digits", url=url, login=login, password=password, extra=extra)


def test_connection_without_auth_is_airflows_own_affair() -> None:
    assert read() == StockLogin()
    assert read(login="me", password="pw", Authorization="Bearer x", timeout=3) == StockLogin()
    assert read(audience="a header like any other") == StockLogin()


def test_bearer_token_is_the_password_and_is_not_shown() -> None:
    login = read(password="the-token", auth="bearer")

    assert login == BearerToken("the-token")
    assert "the-token" not in repr(login)


@pytest.mark.parametrize(
    ("url", "audience"),
    [
        ("https://digits.example", "https://digits.example"),
        ("https://digits.example:443/", "https://digits.example"),
        ("https://digits.example:8443/api", "https://digits.example:8443"),
        ("https://DIGITS.example", "https://digits.example"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_audience_is_the_connections_origin(url: str, audience: str) -> None:
    assert read(url, auth="google-id-token") == GoogleIdToken(audience=audience)
    assert origin_of(url) == audience


def test_options_of_id_tokens_are_read() -> None:
    assert read(
        "http://digits.internal",
        auth="google-id-token",
        audience="https://digits.example",
        gcp_conn_id="google",
        impersonation_chain="a@p.iam.gserviceaccount.com, b@p.iam.gserviceaccount.com",
    ) == GoogleIdToken(
        audience="https://digits.example",
        gcp_conn_id="google",
        impersonation_chain=("a@p.iam.gserviceaccount.com", "b@p.iam.gserviceaccount.com"),
    )
    assert read(auth="google-id-token", key_path="/key.json", impersonation_chain=["a@p"]) == GoogleIdToken(
        audience=URL, key_path="/key.json", impersonation_chain=("a@p",)
    )


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"auth": "oauth"}, "auth: one of basic, bearer, google-id-token, not 'oauth'"),
        ({"auth": ["basic"]}, "auth: one of"),
        ({"auth": "basic"}, "login: missing"),
        ({"auth": "bearer"}, "password: missing"),
        ({"auth": "basic", "audience": URL}, "audience: belongs to auth 'google-id-token'"),
        ({"auth": "google-id-token", "audience": ""}, "audience: a text that is not empty"),
        ({"auth": "google-id-token", "audience": 5}, "audience: a text that is not empty"),
        (
            {"auth": "google-id-token", "impersonation_chain": "me"},
            "impersonation_chain: an account's e-mail",
        ),
        ({"auth": "google-id-token", "impersonation_chain": []}, "impersonation_chain: an account's e-mail"),
        ({"auth": "google-id-token", "impersonation_chain": {"a@b": 1}}, "impersonation_chain: an account's"),
        (
            {"auth": "google-id-token", "key_path": "/k", "gcp_conn_id": "g"},
            "key_path: the Google connection",
        ),
        ({"auth": "google-id-token", "srv_lookup": True}, "srv_lookup: does not go with auth"),
        ({"keyfile_dict": "{}"}, "keyfile_dict: not here"),
        ({"auth": "google-id-token", "keyfile_dict": {}}, "keyfile_dict: not here"),
    ],
)
def test_bad_value_is_one_error_that_names_connection_and_field(extra: dict[str, object], words: str) -> None:
    with pytest.raises(ContractError) as caught:
        read(**extra)  # type: ignore[arg-type] # parametrized

    assert str(caught.value).startswith(f"http_conn_id: 'digits': {words}")


def test_token_for_a_plain_connection_needs_an_audience_to_be_named() -> None:
    with pytest.raises(ContractError, match="schema: is not https"):
        read("http://digits.example", auth="google-id-token")
    with pytest.raises(ContractError, match="host: missing"):
        read("https://", auth="google-id-token")


@pytest.mark.parametrize("token", ["two words", "a\nb", "ä"])
def test_token_that_no_header_can_carry_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(ContractError) as caught:
        read(password=token, auth="bearer")

    assert token not in str(caught.value)
