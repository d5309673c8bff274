"""The mark of a message that was held up by a lost connection, or may have been sent before."""

from typing import Any

import msgspec

from maas_agent.hub.client import Outbound

_Shallow = dict[str, msgspec.Raw]
_TRUE = msgspec.Raw(b"true")


def replayed(message: Outbound) -> Outbound:
    """The same message with ``"replayed": true`` in its document; of another form it stays as it is.

    A response of the Open Inference Protocol v2 has it in its ``parameters``, which are free to servers.
    """
    try:
        document = msgspec.json.decode(message.payload, type=_Shallow)
        if "outputs" in document and "model_name" in document:
            parameters: Any = msgspec.json.decode(document.get("parameters", b"{}"), type=_Shallow)
            document["parameters"] = msgspec.Raw(msgspec.json.encode(parameters | {"replayed": _TRUE}))
        else:
            document["replayed"] = _TRUE
        return msgspec.structs.replace(message, payload=msgspec.json.encode(document))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return message
