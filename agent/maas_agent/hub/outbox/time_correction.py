"""The time in a document that was written while the wall clock was wrong, when it is known by how much."""

from datetime import UTC, datetime

import msgspec

from maas_agent.base.documents import encode, rfc3339
from maas_agent.base.untrusted import MALFORMED
from maas_agent.hub.mqtt.message import Outbound

_Shallow = dict[str, msgspec.Raw]
_TRUE = msgspec.Raw(b"true")


def corrected(message: Outbound, error_s: float) -> Outbound:
    """The same message, its ``time`` later by ``error_s`` seconds, which may be negative.

    That this was done is said by ``"time_corrected": true`` in the document, and a user property of that name (MQTT 5).
    What has no ``time`` stays as it is.
    """
    payload = corrected_payload(message.payload, error_s)
    if payload is message.payload:
        return message
    properties = (*message.user_properties, ("time_corrected", "true"))
    return msgspec.structs.replace(message, payload=payload, user_properties=properties)


def corrected_payload(payload: bytes, error_s: float) -> bytes:
    """The document alone."""
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
