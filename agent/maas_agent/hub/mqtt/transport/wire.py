"""Reads and writes PUBLISH and PUBACK as bytes, by section of MQTT 5.0 (3.1.1 differs in having no properties).

paho-mqtt keeps the session; these two packets carry the data, thousands a second, and are read and written here: why is
in docs/decisions/0001-publish-path.md.
"""

from functools import lru_cache
from typing import Any

import msgspec

PUBLISH, PUBACK = 0x30, 0x40
PINGREQ = b"\xc0\x00"
_EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION = 0x02, 0x03, 0x08, 0x09
_SUBSCRIPTION, _USER_PROPERTY = 0x0B, 0x26
_FIXED = {0x01: 1, _EXPIRY: 4, 0x23: 2}
"""Payload Format Indicator, Message Expiry Interval, Topic Alias: their lengths."""
_COUNTED = {_CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION}
_MAY_REPEAT = {_SUBSCRIPTION, _USER_PROPERTY}


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


def encode_disconnect(reason: int, *, has_properties: bool) -> bytes:
    """A DISCONNECT (section 3.14); 3.1.1 has no reasons."""
    return bytes((0xE0, 1, reason)) if has_properties and reason else b"\xe0\x00"


def encode_puback(number: int) -> bytes:
    """A PUBACK with the reason code Success, which needs neither code nor properties (section 3.4.2.1)."""
    return b"\x40\x02" + number.to_bytes(2, "big")


def packed_properties(
    content_type: str | None,
    correlation: bytes | None,
    expiry_s: int | None = None,
    user_properties: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """Properties of a PUBLISH, packed with their length (section 3.3.2.3)."""
    if not correlation and expiry_s is None:
        return _packed_description(content_type, user_properties)
    packed = _description(content_type, user_properties)
    if expiry_s is not None:
        packed += bytes((_EXPIRY,)) + expiry_s.to_bytes(4, "big")
    if correlation:
        packed += bytes((_CORRELATION,)) + _counted(correlation)
    return _as_variable_integer(len(packed)) + packed


@lru_cache(maxsize=64)
def _packed_description(content_type: str | None, user_properties: tuple[tuple[str, str], ...]) -> bytes:
    """Nearly every answer has the same ones: neither an expiry nor the data of one request belongs in here."""
    packed = _description(content_type, user_properties)
    return _as_variable_integer(len(packed)) + packed


@lru_cache(maxsize=64)
def _description(content_type: str | None, user_properties: tuple[tuple[str, str], ...]) -> bytes:
    packed = bytes((_CONTENT_TYPE,)) + _counted(content_type.encode()) if content_type else b""
    for name, value in user_properties:
        packed += bytes((_USER_PROPERTY,)) + _counted(name.encode()) + _counted(value.encode())
    return packed


class Properties(msgspec.Struct, frozen=True):
    """What is of use here of the properties of a received PUBLISH (section 3.3.2.3)."""

    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None
    """Message Expiry Interval, in seconds."""


NO_PROPERTIES = Properties()


@lru_cache(maxsize=64)
def unpacked_properties(packed: bytes) -> Properties:
    """The properties of a received PUBLISH, without their length; raises `Malformed`."""
    found: dict[int, Any] = {}
    position = 0
    while position < len(packed):
        identifier, position = packed[position], position + 1
        value, position = _property(packed, identifier, position)
        if identifier in found and identifier not in _MAY_REPEAT:
            raise Malformed(f"property {identifier} twice")
        found[identifier] = value
    try:
        return Properties(
            content_type=_text(found.get(_CONTENT_TYPE)),
            response_topic=_text(found.get(_RESPONSE_TOPIC)),
            correlation=found.get(_CORRELATION),
            expiry_s=int.from_bytes(found[_EXPIRY], "big") if _EXPIRY in found else None,
        )
    except UnicodeDecodeError:
        raise Malformed("a property that is not UTF-8") from None


def _property(packed: bytes, identifier: int, position: int) -> tuple[bytes, int]:
    """The value that begins at ``position``, and where it ends."""
    if identifier in _FIXED:
        end = position + _FIXED[identifier]
    elif identifier in _COUNTED:
        position, end = _end_of_counted(packed, position)
    elif identifier == _USER_PROPERTY:
        _, middle = _end_of_counted(packed, position)
        _, end = _end_of_counted(packed, middle)
    elif identifier == _SUBSCRIPTION:
        number = variable_integer(bytearray(packed[position : position + 4]), 0)
        end = position + number[1] if number else len(packed) + 1
    else:
        raise Malformed(f"property {identifier}, which a PUBLISH has not")
    if end > len(packed):
        raise Malformed("properties that end inside one")
    return packed[position:end], end


def _end_of_counted(packed: bytes, position: int) -> tuple[int, int]:
    """Where text or binary data with a length of two bytes begins and ends (sections 1.5.4 and 1.5.6)."""
    start = position + 2
    return start, start + int.from_bytes(packed[position:start], "big") if start <= len(packed) else len(packed) + 1


def _text(data: bytes | None) -> str | None:
    return data.decode() if data is not None else None


def _counted(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _as_variable_integer(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value:
        value, low = value >> 7, value & 0x7F
        encoded.append(low | (0x80 if value else 0))
    return bytes(encoded)
