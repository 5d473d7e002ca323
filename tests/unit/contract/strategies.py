"""What hypothesis may make of the contract's values."""

from __future__ import annotations

from datetime import UTC

from hypothesis import strategies as st

from longcall.contract import (
    Accepted,
    Cancelled,
    DataReference,
    Failed,
    Heartbeat,
    Log,
    LogLine,
    Problem,
    Progress,
    Report,
    Succeeded,
)

ID_CHARACTERS = [chr(code) for code in range(33, 127) if chr(code) not in '"\\']

text = st.text(max_size=30)
some_text = st.text(min_size=1, max_size=30)
ids = st.text(st.sampled_from(ID_CHARACTERS), min_size=1, max_size=200)
numbers = st.integers(0, 10**30) | st.floats(0, allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53 - 1)
instants = st.datetimes(timezones=st.just(UTC))

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
problems = st.builds(
    Problem,
    title=some_text,
    detail=text,
    code=text,
    retryable=st.booleans(),
    retry_after_ms=st.none() | counts,
    status=st.none() | st.integers(100, 599),
    type=st.sampled_from(["about:blank", "https://example.org/full"]),
    instance=text,
)
progresses = st.builds(Progress, done=numbers, total=st.none() | numbers, unit=text, message=text)
logs = st.lists(
    st.builds(
        LogLine,
        message=text,
        level=st.sampled_from(["debug", "info", "warning", "error"]),
        time=st.none() | instants,
    ),
    max_size=4,
).map(lambda lines: Log(lines=tuple(lines)))
results = st.builds(
    Succeeded,
    data=st.binary(max_size=60),
    content_type=st.sampled_from(["", "text/plain", "image/png", "application/json", "a/b+json"]),
) | json_values.map(Succeeded.of)
references = st.builds(
    DataReference.of,
    st.binary(max_size=60),
    url=st.sampled_from(["gs://bucket/a%20b", "file:///tmp/x", "memory://x", "https://h/x?y=%3D"]),
    expires_time=st.none() | instants,
)
results |= st.builds(
    Succeeded, reference=references, content_type=st.sampled_from(["", "image/png", "application/json"])
)
completions = results | st.builds(Failed, problem=problems) | st.builds(Cancelled, detail=text)
bodies = st.just(Accepted()) | st.just(Heartbeat()) | progresses | logs | completions
reports = st.builds(
    Report,
    correlation_id=ids,
    body=bodies,
    id=some_text,
    source=some_text,
    time=st.none() | instants,
    attempt=st.none() | counts,
    sequence=st.none() | counts,
    traceparent=text,
)
