"""Ids nobody guesses, names Pub/Sub takes, filters that quote."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.contract.strategies import ids, json_values

from longcall.broker.rules.filters import Equals, HasPrefix, parse_filter
from longcall.contract import (
    ContractError,
    Succeeded,
    check_correlation_id,
    correlation_filter,
    decode_json,
    encode_json,
    inbox_filter,
    new_correlation_id,
    new_inbox_correlation_id,
    quote_filter_string,
    resource_id,
    resource_path,
    sanitize_label,
)


def test_minted_ids_differ_and_carry_160_bits_in_a_subscription_id() -> None:
    minted = {new_correlation_id() for _ in range(1000)}

    assert len(minted) == 1000
    for one in minted:
        assert re.fullmatch(r"lc-[a-z2-7]{32}", one)
        assert resource_path(one, project="p", collection="subscriptions", field="inbox")


def test_id_of_a_shared_inbox_begins_with_its_name() -> None:
    assert re.fullmatch(r"prod\.[a-z2-7]{32}", new_inbox_correlation_id("prod"))


@pytest.mark.parametrize("bad", ["", "a b", 'a"', "a\\", "ä", "a\n", "a" * 201])
def test_id_that_a_filter_could_not_hold_is_refused(bad: str) -> None:
    with pytest.raises(ContractError, match="correlid"):
        check_correlation_id(bad)


@given(ids)
def test_filter_of_every_id_fits_and_asks_for_that_id(correlation_id: str) -> None:
    text = correlation_filter(correlation_id)

    assert len(text.encode()) <= 256
    assert parse_filter(text) == Equals("correlid", correlation_id)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_quoted_string_means_itself(value: str) -> None:
    assert parse_filter(f"attributes.k = {quote_filter_string(value)}") == Equals("k", value)


def test_filter_of_a_shared_inbox_asks_for_its_prefix() -> None:
    assert parse_filter(inbox_filter("prod")) == HasPrefix("correlid", "prod.")


def test_inbox_name_too_long_for_a_filter_is_refused() -> None:
    with pytest.raises(ContractError, match="256"):
        inbox_filter("a" * 250)


@pytest.mark.parametrize(
    ("value", "project", "path"),
    [
        ("reports", "p-1", "projects/p-1/topics/reports"),
        ("projects/other/topics/reports", "p-1", "projects/other/topics/reports"),
        ("projects/example.com:p/topics/reports", None, "projects/example.com:p/topics/reports"),
    ],
)
def test_resource_is_named_by_id_or_path(value: str, project: str | None, path: str) -> None:
    assert resource_path(value, project=project, collection="topics", field="topic") == path
    assert resource_id(path) == "reports"


@pytest.mark.parametrize(
    "value", ["", "ab", "1abc", "goog-x", "a b c", "a" * 256, "projects/p/subscriptions/abc", "a/b"]
)
def test_name_that_pubsub_refuses_is_refused_by_field(value: str) -> None:
    with pytest.raises(ContractError, match=r"^topic: "):
        resource_path(value, project="p", collection="topics", field="topic")


@pytest.mark.parametrize(
    ("project", "says"), [(None, "names no project"), ("P!", "not a Google Cloud project")]
)
def test_missing_or_impossible_project_says_what_to_do(project: str | None, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        resource_path("reports", project=project, collection="topics", field="topic")


@given(st.text(max_size=100))
def test_every_text_becomes_a_label(value: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{0,63}", sanitize_label(value))


def test_run_id_stays_legible_as_a_label() -> None:
    assert sanitize_label("manual__2026-01-31T12:00:00+00:00") == "manual__2026-01-31t12-00-00-00-00"


@given(json_values)
def test_every_json_value_survives(value: object) -> None:
    assert Succeeded.of(value).value() == value  # type: ignore[arg-type] # built by hypothesis
    assert decode_json(encode_json(value, field="x"), field="x") == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "content_type", "value"),
    [
        (b"12", "", "12"),
        (b"12", "application/json; charset=utf-8", 12),
        (b"12", "application/vnd.x+json", 12),
        (b"12", "text/plain", "12"),
        (b"\xff", "text/plain", b"\xff"),
        (b"12", "image/png", b"12"),
    ],
)
def test_result_is_decoded_by_its_type_and_never_guessed(
    data: bytes, content_type: str, value: object
) -> None:
    assert Succeeded(data=data, content_type=content_type).value() == value


def test_result_that_is_not_the_json_it_claims_is_refused() -> None:
    with pytest.raises(ContractError, match="result"):
        Succeeded(data=b"{", content_type="application/json").value()


@pytest.mark.parametrize(
    "data",
    [
        '{"a":1}'.encode("utf-16"),
        b'"\xed\xa0\x80"',
        b"\xff",
        b"NaN",
        b"1e999",
        b"-1e999",
        b"",
        b"[" * 99999,
        b'"\\ud800"',
        b'{"\\uDCFF": 1}',
    ],
)
def test_json_that_not_every_language_can_hold_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError, match=r"^x: not JSON"):
        decode_json(data, field="x")


@pytest.mark.parametrize(("data", "value"), [(b'"\\ud83d\\ude00"', "😀"), (b'"\\\\ud800"', "\\ud800")])
def test_whole_surrogate_pair_is_its_character(data: bytes, value: str) -> None:
    assert decode_json(data, field="x") == value


def test_byte_order_mark_before_json_is_forgiven() -> None:
    assert decode_json(b"\xef\xbb\xbf[1]", field="x") == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}, b"bytes"])
def test_value_that_is_not_json_is_not_written(value: object) -> None:
    with pytest.raises(ContractError, match=r"^x: not JSON"):
        encode_json(value, field="x")  # type: ignore[arg-type] # on purpose
