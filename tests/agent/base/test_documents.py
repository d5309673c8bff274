"""The documents on out topics."""

import json

import pytest

from maas_agent.base.documents import ErrorDetail, ErrorDocument, ResultDocument, encode, rfc3339


@pytest.mark.parametrize(
    ("epoch_s", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.25, "2023-11-14T22:13:20.250Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:20.999Z"),
        (1_700_000_001.0, "2023-11-14T22:13:21.000Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.500Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc(epoch_s: float, text: str) -> None:
    assert rfc3339(epoch_s) == text


def test_a_document_leaves_out_what_is_not_known() -> None:
    head = {"id": "1", "time": "t", "device": "d", "pipeline": "p"}
    error = ErrorDocument(**head, error=ErrorDetail("empty", "no bytes"))
    assert json.loads(encode(error)) == head | {"error": {"code": "empty", "message": "no bytes"}}
    result = ResultDocument(**head, model="m", version="1.0.0", latency_ms=0.0, result=None)
    assert json.loads(encode(result)) == head | {"model": "m", "version": "1.0.0", "latency_ms": 0.0, "result": None}


def test_a_document_begins_with_its_id() -> None:
    """A person who reads the first bytes of many sees which is which."""
    document = ResultDocument("1", "t", "d", "p", latency_ms=1.0, result={})
    assert encode(document).startswith(b'{"id":"1","time":')
