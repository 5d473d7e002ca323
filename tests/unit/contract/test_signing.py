"""A signature holds for one report and one key, and any language can make it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.contract.strategies import reports

from longcall.contract import (
    BadSignature,
    CallRequest,
    ContractError,
    MalformedRequest,
    Message,
    Report,
    SigningKey,
    decode_report,
    decode_request,
    encode_report,
    request_headers,
    sign,
    verify,
)
from longcall.contract.signing import SIGNATURE_ATTRIBUTE, keys_from_header, keys_to_header

KEY, OTHER = SigningKey(b"k" * 32), SigningKey(b"o" * 32)
VECTORS = json.loads((Path(__file__).parents[2] / "contract/golden/signatures.json").read_text("utf-8"))
keys = st.binary(min_size=24, max_size=64).map(SigningKey)


def signature_in_ten_lines(secret: str, attributes: Mapping[str, str], data: bytes) -> str:
    """What a service author of any language writes, from the reference alone."""

    def encode(value: bytes) -> str:
        return base64.b64encode(value).decode()

    names = [n for n in attributes if n in ("correlid", "content-type") or re.fullmatch("ce-[a-z0-9]+", n)]
    text = "".join(f"{name}:{encode(attributes[name].encode())}\n" for name in sorted(names))
    text += f"data:{encode(hashlib.sha256(data).digest())}\n"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + encode(hmac.digest(key, text.encode(), "sha256"))


@given(reports, st.lists(keys, min_size=1, max_size=4))
def test_signed_report_is_the_same_report_and_each_key_verifies_it(
    report: Report, signing_keys: list[SigningKey]
) -> None:
    message = sign(encode_report(report), signing_keys)
    assert decode_report(message) == report
    for key in signing_keys:
        verify(message, [OTHER, key])
    first = signature_in_ten_lines(signing_keys[0].to_text(), message.attributes, message.data)
    assert message.attributes[SIGNATURE_ATTRIBUTE].split()[0] == first


@given(
    reports,
    st.sampled_from(
        ["correlid", "content-type", "ce-type", "ce-id", "ce-attempt", "ce-later", "data", "gone"]
    ),
    st.text(min_size=1, max_size=5),
)
def test_nothing_that_a_reader_looks_at_can_be_changed(report: Report, what: str, value: str) -> None:
    message = sign(encode_report(report), [KEY])
    attributes = dict(message.attributes)
    data = message.data
    if what == "data":
        data += value.encode()
    elif what == "gone":
        del attributes["ce-type"]
    else:
        assume(attributes.get(what) != value)
        attributes[what] = value
    with pytest.raises(BadSignature):
        verify(replace(message, data=data, attributes=attributes), [KEY])


def test_attributes_that_mean_nothing_may_be_added_on_the_way() -> None:
    message = sign(Message(data=b"x", attributes={"correlid": "a", "ce-type": "t"}), [KEY])
    more = {**message.attributes, "traceparent": "00-1", "googclient_x": "y", "ce-no:\nname": "z"}
    verify(replace(message, attributes=more), [KEY])


@pytest.mark.parametrize("signature", ["", "v1,", "v2,AAAA", "nonsense", "v1,ä\udfff", "v1," * 200])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    attributes = {"correlid": "a", SIGNATURE_ATTRIBUTE: signature}
    with pytest.raises(BadSignature):
        verify(Message(data=b"x", attributes=attributes), [KEY])


def test_signature_of_another_key_or_another_call_is_refused() -> None:
    message = sign(Message(data=b"x", attributes={"correlid": "a"}), [OTHER])
    with pytest.raises(BadSignature, match="another"):
        verify(message, [KEY])
    mine = sign(Message(data=b"x", attributes={"correlid": "a"}), [KEY])
    moved = replace(mine, attributes={**mine.attributes, "correlid": "b"})
    with pytest.raises(BadSignature, match="another"):
        verify(moved, [KEY])


def test_without_keys_nothing_is_signed() -> None:
    message = Message(data=b"x", attributes={"correlid": "a"})
    assert sign(message, []) is message


@given(st.lists(keys, max_size=4))
def test_keys_survive_the_request(signing_keys: list[SigningKey]) -> None:
    request = CallRequest(correlation_id="a", signing_keys=tuple(signing_keys))
    headers = {name.lower(): value for name, value in request_headers(request).items()}
    assert decode_request({}, headers, b"") == request
    assert keys_from_header(keys_to_header(signing_keys)) == tuple(signing_keys)


@pytest.mark.parametrize(
    "header", ["secret", "whsec_%%%%", "whsec_c2hvcnQ=", f"whsec_{'A' * 100}", " ".join([KEY.to_text()] * 5)]
)
def test_header_without_sound_keys_is_refused_and_not_repeated(header: str) -> None:
    with pytest.raises(MalformedRequest) as raised:
        decode_request({}, {"idempotency-key": "a", "longcall-signing-key": header}, b"")
    assert header not in str(raised.value)


def test_key_takes_no_part_in_what_makes_two_requests_one_call() -> None:
    one, other = (CallRequest(correlation_id="a", signing_keys=(key,)) for key in (KEY, OTHER))
    assert one.digest() == other.digest()


def test_derived_key_is_always_the_same_and_its_own() -> None:
    assert SigningKey.derived(b"s", "a") == SigningKey.derived(b"s", "a")
    assert len({SigningKey.derived(*of) for of in ((b"s", "a"), (b"s", "b"), (b"t", "a"))}) == 3
    assert SigningKey.new() != SigningKey.new()
    with pytest.raises(ContractError):
        SigningKey(b"short")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_golden_signature(vector: dict[str, Any]) -> None:
    data, attributes = base64.b64decode(vector["data_base64"]), vector["attributes"]
    message = Message(data=data, attributes=attributes)
    signing_keys = keys_from_header(vector["signing_key"])
    assert sign(message, signing_keys).attributes[SIGNATURE_ATTRIBUTE] == vector["signature"]
    words = [signature_in_ten_lines(key.to_text(), attributes, data) for key in signing_keys]
    assert " ".join(words) == vector["signature"]
