"""PUBLISH and PUBACK as bytes: pure functions, cited by section of MQTT 5.0 (3.1.1 differs in having no properties).

paho-mqtt keeps the session; these two packets carry the data, thousands a second, and are read and written here: why is
in docs/decisions/0001-publish-path.md.
"""

from functools import lru_cache
from typing import Any

import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PUBLISH, PUBACK = 0x30, 0x40


class Malformed(Exception):  # noqa: N818 - the standard's own word (section 1.2)
    """Bytes that are no MQTT packet: the connection is closed over it."""


class Publish(msgspec.Struct, frozen=True):
    """A received PUBLISH (section 3.3). ``number`` is 0 with QoS 0; ``properties`` are packed, without their length."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    number: int
    properties: bytes
    cut_bytes: int = 0
    """Size of the packet if it was too large and its payload was discarded, else 0."""
    dup: bool = False
    """The broker may have sent it before (section 3.3.1.1)."""


class Puback(msgspec.Struct, frozen=True):
    """A received PUBACK (section 3.4). A ``reason`` of 0x80 or above means that the broker refused the message."""

    number: int
    reason: int = 0


def variable_integer(data: bytearray, start: int) -> tuple[int, int] | None:
    """Value and length of a Variable Byte Integer (section 1.5.5); ``None`` while it is incomplete."""
    value = 0
    for index in range(4):
        if start + index >= len(data):
            return None
        byte = data[start + index]
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, index + 1
    raise Malformed("a length has more than four bytes")


def head_length(data: bytearray, start: int, flags: int, *, has_properties: bool) -> int | None:
    """Length of topic, packet identifier and properties of the PUBLISH whose variable header begins at ``start``.

    ``None`` while not enough of it is there to tell.
    """
    if len(data) < start + 2:
        return None
    length = 2 + (data[start] << 8 | data[start + 1])
    if flags & 0x06:
        length += 2
    if has_properties:
        properties = variable_integer(data, start + length)
        if properties is None:
            return None
        length += properties[1] + properties[0]
    return length


def decode_publish(
    data: bytearray, start: int, end: int, flags: int, *, has_properties: bool, cut_bytes: int = 0
) -> Publish:
    """The PUBLISH whose variable header begins at ``start`` and whose payload ends at ``end``; raises `Malformed`."""
    if end < start + 2:
        raise Malformed("a PUBLISH has no topic")
    qos = (flags >> 1) & 3
    position = start + 2 + (data[start] << 8 | data[start + 1])
    topic = bytes(data[start + 2 : position])
    number = 0
    if qos:
        number = data[position] << 8 | data[position + 1] if position + 2 <= end else 0
        position += 2
    properties = b""
    if has_properties:
        packed = variable_integer(data, position)
        if packed is None:
            raise Malformed("a PUBLISH ends in its properties")
        position += packed[1]
        properties = bytes(data[position : position + packed[0]])
        position += packed[0]
    if qos == 3 or (qos and not number) or position > end:
        raise Malformed("a PUBLISH contradicts itself")
    return Publish(
        topic, bytes(data[position:end]), qos, bool(flags & 1), number, properties, cut_bytes, bool(flags & 8)
    )


def decode_puback(data: bytearray, start: int, end: int) -> Puback:
    """The PUBACK whose variable header is ``data[start:end]``; raises `Malformed`."""
    if end - start < 2:
        raise Malformed("a PUBACK has no packet identifier")
    return Puback(data[start] << 8 | data[start + 1], data[start + 2] if end - start > 2 else 0)


def encode_publish(
    topic: bytes, payload: bytes, qos: int, retain: bool, number: int, properties: bytes | None
) -> bytes:
    """A PUBLISH. ``properties`` are packed with their length, ``None`` in MQTT 3.1.1; ``number`` counts with QoS 1."""
    body = len(topic).to_bytes(2, "big") + topic
    if qos:
        body += number.to_bytes(2, "big")
    if properties is not None:
        body += properties
    length = _as_variable_integer(len(body) + len(payload))
    return bytes((PUBLISH | qos << 1 | retain,)) + length + body + payload


def encode_puback(number: int) -> bytes:
    """A PUBACK with the reason code Success, which needs neither code nor properties (section 3.4.2.1)."""
    return b"\x40\x02" + number.to_bytes(2, "big")


@lru_cache(maxsize=64)
def packed_properties(content_type: str | None, correlation: bytes | None) -> bytes:
    """Properties of a PUBLISH, packed with their length (section 3.3.2.3)."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if content_type:
        properties.ContentType = content_type
    if correlation:
        properties.CorrelationData = correlation
    packed: bytes = properties.pack()  # type: ignore[no-untyped-call]
    return packed


def unpacked_properties(packed: bytes) -> Any:
    """paho's `Properties` of a received PUBLISH; raises `Malformed`."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    try:
        properties.unpack(_as_variable_integer(len(packed)) + packed)  # type: ignore[no-untyped-call]
    except Exception as error:  # paho raises what its parser stumbles over: IndexError, KeyError, its own
        raise Malformed(f"properties cannot be read: {error}") from None
    return properties


def _as_variable_integer(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value:
        value, low = value >> 7, value & 0x7F
        encoded.append(low | (0x80 if value else 0))
    return bytes(encoded)
