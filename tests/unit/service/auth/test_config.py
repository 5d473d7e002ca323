"""What may be configured of who may call, and what the environment says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from longcall.service import ServiceConfigError
from longcall.service.auth import AuthConfig

TOKEN = "a-token-that-nobody-guesses"
GOOGLE = {
    "LONGCALL_AUTH": "google-id-token",
    "LONGCALL_AUTH_AUDIENCE": "https://digits.example",
    "LONGCALL_AUTH_ALLOWED_CALLERS": "airflow@p.iam.gserviceaccount.com",
}


def test_nothing_set_lets_in_everybody() -> None:
    assert AuthConfig.from_env({}) == AuthConfig(mode="none")
    assert AuthConfig.from_env({"LONGCALL_AUTH": ""}).mode == "none"


def test_tokens_are_read_from_the_environment() -> None:
    config = AuthConfig.from_env({"LONGCALL_AUTH": "bearer", "LONGCALL_AUTH_TOKENS": f"{TOKEN}, {TOKEN}-2"})

    assert config.tokens == (TOKEN, f"{TOKEN}-2")


def test_google_settings_are_read_from_the_environment() -> None:
    config = AuthConfig.from_env(
        GOOGLE | {"LONGCALL_AUTH_AUDIENCE": "https://a,https://b", "LONGCALL_AUTH_OPEN_METRICS": "1"}
    )

    assert config.audiences == ("https://a", "https://b")
    assert config.allowed_callers == {"airflow@p.iam.gserviceaccount.com"}
    assert config.open_paths == {"/health", "/ready", "/metrics"}


def test_representation_shows_no_token() -> None:
    assert TOKEN not in repr(AuthConfig(mode="bearer", tokens=(TOKEN,)))


@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        ({"LONGCALL_AUTH": "basic"}, "LONGCALL_AUTH"),
        ({"LONGCALL_AUTH": "bearer"}, "LONGCALL_AUTH_TOKENS"),
        ({"LONGCALL_AUTH": "bearer", "LONGCALL_AUTH_TOKENS": "short"}, "LONGCALL_AUTH_TOKENS"),
        ({"LONGCALL_AUTH": "bearer", "LONGCALL_AUTH_TOKENS": "é" * 20}, "LONGCALL_AUTH_TOKENS"),
        # A mode that was forgotten must not leave the door open.
        ({"LONGCALL_AUTH_TOKENS": TOKEN}, "LONGCALL_AUTH_TOKENS"),
        ({"LONGCALL_AUTH_TOKEN_FILE": "/run/tokens"}, "LONGCALL_AUTH_TOKEN_FILE"),
        ({"LONGCALL_AUTH_ALLOWED_CALLERS": "a@b"}, "LONGCALL_AUTH_ALLOWED_CALLERS"),
        (GOOGLE | {"LONGCALL_AUTH_TOKENS": TOKEN}, "LONGCALL_AUTH_TOKENS"),
        (GOOGLE | {"LONGCALL_AUTH_AUDIENCE": ""}, "LONGCALL_AUTH_AUDIENCE"),
        (GOOGLE | {"LONGCALL_AUTH_ALLOWED_CALLERS": " , "}, "LONGCALL_AUTH_ALLOWED_CALLERS"),
        (GOOGLE | {"LONGCALL_AUTH_CERTIFICATES_URL": "http://a.example"}, "LONGCALL_AUTH_CERTIFICATES_URL"),
        (GOOGLE | {"LONGCALL_AUTH_CERTIFICATES_URL": "file:///etc/certs"}, "LONGCALL_AUTH_CERTIFICATES_URL"),
        ({"LONGCALL_AUTH_OPEN_METRICS": "perhaps"}, "LONGCALL_AUTH_OPEN_METRICS"),
    ],
)
def test_what_lets_in_everybody_or_nobody_is_refused(environ: dict[str, str], setting: str) -> None:
    with pytest.raises(ServiceConfigError) as refused:
        AuthConfig.from_env(environ)

    assert refused.value.setting == setting
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("skew_s", [-1.0, 301.0, float("nan")])
def test_clock_skew_has_bounds(skew_s: float) -> None:
    with pytest.raises(ServiceConfigError, match="clock_skew_s"):
        AuthConfig(mode="bearer", token_file=Path("tokens"), clock_skew_s=skew_s)
