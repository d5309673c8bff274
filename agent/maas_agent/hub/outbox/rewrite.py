"""Rewrites messages on their way: marks what was held up, corrects its time, tells what is too large."""

from datetime import UTC, datetime
from math import ceil
from typing import Any

import msgspec

from maas_agent.base import codes
from maas_agent.base.documents import ErrorDetail, encode, rfc3339
from maas_agent.base.untrusted import MALFORMED
from maas_agent.hub.mqtt.flow.packet_limit import TooLargeError
from maas_agent.hub.mqtt.message import Outbound

_Shallow = dict[str, msgspec.Raw]
_TRUE = msgspec.Raw(b"true")
_HEAD = ("id", "time", "device", "pipeline", "model", "version")


def replayed(message: Outbound, waited_s: float) -> Outbound | None:
    """Mark a message that has waited for so many seconds; ``None`` if it has expired.

    The mark is ``"replayed": true`` in its document, and a user property of that name (MQTT 5). A response of the Open
    Inference Protocol v2 has it in its ``parameters``, which are free to servers. What is no JSON object stays as it
    is.
    """
    left_s = None if message.expiry_s is None else message.expiry_s - waited_s
    if left_s is not None and left_s <= 0:
        return None
    return msgspec.structs.replace(
        message,
        payload=_marked(message.payload),
        expiry_s=None if left_s is None else ceil(left_s),
        user_properties=(*message.user_properties, ("replayed", "true")),
    )


def _marked(payload: bytes) -> bytes:
    try:
        document = msgspec.json.decode(payload, type=_Shallow)
        if "outputs" in document and "model_name" in document:
            parameters: Any = msgspec.json.decode(document.get("parameters", b"{}"), type=_Shallow)
            document["parameters"] = msgspec.Raw(msgspec.json.encode(parameters | {"replayed": _TRUE}))
        else:
            document["replayed"] = _TRUE
        return msgspec.json.encode(document)
    except MALFORMED:
        return payload


def corrected(message: Outbound, error_s: float) -> Outbound:
    """Move the ``time`` in a message by ``error_s`` seconds, which may be negative: the wall clock was wrong by that.

    That this was done is said by ``"time_corrected": true`` in the document, and a user property of that name (MQTT 5).
    What has no ``time`` stays as it is.
    """
    payload = corrected_payload(message.payload, error_s)
    if payload is message.payload:
        return message
    properties = (*message.user_properties, ("time_corrected", "true"))
    return msgspec.structs.replace(message, payload=payload, user_properties=properties)


def corrected_payload(payload: bytes, error_s: float) -> bytes:
    """Do so in a document alone; the very same bytes where there is nothing to correct."""
    if not error_s:
        return payload
    try:
        document = msgspec.json.decode(payload, type=_Shallow)
        said = datetime.fromisoformat(msgspec.json.decode(document["time"], type=str))
        # A time without a zone is UTC here.
        right = (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp() + error_s
        document |= {"time": msgspec.Raw(encode(rfc3339(max(0.0, right)))), "time_corrected": _TRUE}
        return msgspec.json.encode(document)
    except (*MALFORMED, KeyError, ValueError, OverflowError):
        return payload


def error_instead(message: Outbound, too_large: TooLargeError, put_at: float) -> Outbound | None:
    """Make an error with the head of the result that ``message`` holds; ``None`` if it holds none.

    ``put_at``, in seconds since 1970, is the time of a response of the Open Inference Protocol v2, which has none.
    """
    try:
        document = msgspec.json.decode(message.payload, type=_Shallow)
        if "outputs" in document:
            inner = msgspec.json.decode(document.get("parameters", b"{}"), type=_Shallow)
            head = inner | document | {"time": msgspec.Raw(encode(rfc3339(put_at)))}
            head |= {"model": document["model_name"], "version": document["model_version"]}
        elif "result" in document:
            head = document
        else:
            return None
    except (*MALFORMED, KeyError):
        return None
    size, most = too_large.size, too_large.most
    error = ErrorDetail(
        codes.RESULT_TOO_LARGE, f"the result takes {size} bytes on the wire, and the broker takes {most}"
    )
    error_document = {name: head[name] for name in _HEAD if name in head} | {"error": msgspec.Raw(encode(error))}
    return msgspec.structs.replace(message, payload=encode(error_document), retain=False)
