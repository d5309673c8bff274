"""The answer to an input whose result is larger than the broker takes."""

import msgspec

from maas_agent.base import codes
from maas_agent.base.documents import ErrorDetail, encode, rfc3339
from maas_agent.base.untrusted import MALFORMED
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.mqtt.packet_limit import TooLargeError

_Shallow = dict[str, msgspec.Raw]
_HEAD = ("id", "time", "device", "pipeline", "model", "version")


def error_instead(message: Outbound, too_large: TooLargeError, put_at: float) -> Outbound | None:
    """An error with the head of the result that ``message`` holds; ``None`` if it holds none.

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
