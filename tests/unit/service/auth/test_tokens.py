"""Static tokens, and a file of them that changes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from longcall.service import ServiceConfigError
from longcall.service.auth.refusals import CannotVerify, NotAuthenticated
from longcall.service.auth.tokens import TokenVerifier

OLD = "the-old-token-of-the-service"
NEW = "the-new-token-of-the-service"


def replace(file: Path, text: str) -> None:
    """Put another file in the place of this one, as a rotation does."""
    other = file.with_suffix(".new")
    other.write_text(text)
    other.replace(file)


async def test_each_of_several_tokens_counts() -> None:
    verifier = TokenVerifier([OLD, NEW], file=None)

    await verifier.verify(OLD)
    await verifier.verify(NEW)


@pytest.mark.parametrize("token", [OLD[:-1], OLD + "x", OLD.upper(), ""])
async def test_another_token_does_not_count(token: str) -> None:
    with pytest.raises(NotAuthenticated):
        await TokenVerifier([OLD], file=None).verify(token)


async def test_rotation_takes_effect_with_the_next_request(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# the first\n{OLD}\n")
    verifier = TokenVerifier([], file=file)
    await verifier.verify(OLD)

    replace(file, f"{OLD}\n\n{NEW}\n")
    await verifier.verify(OLD)
    await verifier.verify(NEW)

    replace(file, NEW)
    await verifier.verify(NEW)
    with pytest.raises(NotAuthenticated):
        await verifier.verify(OLD)


@pytest.mark.parametrize("content", ["", "# none\n", "short\n", f"{OLD} {NEW}\n", "a" * 70_000, None])
async def test_file_that_cannot_be_used_lets_nobody_in_and_says_so(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    file.write_text(OLD)
    verifier = TokenVerifier([NEW], file=file)
    if content is None:
        file.unlink()
    else:
        replace(file, content)

    for _ in range(2):
        with pytest.raises(CannotVerify) as refused:
            await verifier.verify(OLD)
        await verifier.verify(NEW)

    assert refused.value.retryable
    assert str(file) in caplog.text
    assert OLD not in caplog.text + str(refused.value)

    replace(file, OLD)
    await verifier.verify(OLD)


@pytest.mark.parametrize("content", [None, "", "short"])
def test_service_does_not_start_with_such_a_file(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ServiceConfigError, match="LONGCALL_AUTH_TOKEN_FILE"):
        TokenVerifier([], file=file)


async def test_verifier_keeps_and_logs_no_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "tokens"
    file.write_text(OLD)
    verifier = TokenVerifier([NEW], file=file)
    await verifier.verify(OLD)

    assert not {OLD, NEW} & {str(value) for value in vars(verifier).values()}
    assert OLD not in caplog.text + repr(vars(verifier))
    assert NEW not in caplog.text + repr(vars(verifier))
