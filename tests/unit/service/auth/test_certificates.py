"""For how long HTTP lets an answer be kept."""

from __future__ import annotations

import pytest

from longcall.service.auth.certificates import freshness_s


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({}, 0),
        ({"cache-control": "public, max-age=19204, must-revalidate, no-transform"}, 19204),
        ({"cache-control": "Max-Age = 60"}, 60),
        ({"cache-control": 'max-age="60"'}, 60),
        ({"cache-control": "max-age=19204", "age": "204"}, 19000),
        ({"cache-control": "max-age=60", "age": "100"}, 0),
        ({"cache-control": "max-age=60", "age": "-5"}, 60),
        ({"cache-control": "max-age=60, no-store"}, 0),
        ({"cache-control": "no-cache"}, 0),
        ({"cache-control": "max-age=soon"}, 0),
        ({"cache-control": "s-maxage=5"}, 0),
        ({"date": "Mon, 02 Jan 2006 15:04:05 GMT", "expires": "Mon, 02 Jan 2006 15:05:05 GMT"}, 60),
        ({"date": "Mon, 02 Jan 2006 15:04:05 GMT", "expires": "0"}, 0),
        ({"date": "never", "expires": "never"}, 0),
    ],
)
def test_freshness_is_as_http_has_it(headers: dict[str, str], expected_s: float) -> None:
    assert freshness_s(headers) == expected_s
