"""The mark of a message that was held up by a lost connection, or may have been sent before."""

from math import ceil
from typing import Any

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.hub.mqtt.message import Outbound

_Shallow = dict[str, msgspec.Raw]
_TRUE = msgspec.Raw(b"true")


def replayed(message: Outbound, waited_s: float) -> Outbound | None:
    """The same message, marked, after it has waited for so many seconds; ``None`` if it has expired.

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
