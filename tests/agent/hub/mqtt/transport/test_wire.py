"""PUBLISH and PUBACK as bytes, against the standard and against paho's own reading of it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from maas_agent.hub.mqtt.transport.wire import (
    Malformed,
    Puback,
    Publish,
    decode_puback,
    decode_publish,
    encode_puback,
    encode_publish,
    head_length,
    packed_properties,
    unpacked_properties,
    variable_integer,
)
from maas_agent.hub.mqtt.transport.wire import Properties as Found


def split(packet: bytes) -> tuple[int, int]:
    """Flags of a packet, and where its variable header begins."""
    length = variable_integer(bytearray(packet), 1)
    assert length is not None
    assert length[0] == len(packet) - 1 - length[1]
    return packet[0] & 0x0F, 1 + length[1]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # Table 1-1 of MQTT 5.0, section 1.5.5: the ends of each length.
        (b"\x00", (0, 1)),
        (b"\x7f", (127, 1)),
        (b"\x80\x01", (128, 2)),
        (b"\xff\x7f", (16_383, 2)),
        (b"\x80\x80\x01", (16_384, 3)),
        (b"\xff\xff\x7f", (2_097_151, 3)),
        (b"\x80\x80\x80\x01", (2_097_152, 4)),
        (b"\xff\xff\xff\x7f", (268_435_455, 4)),
        (b"", None),
        (b"\x80", None),
        (b"\xff\xff\xff", None),
    ],
)
def test_a_variable_integer_is_that_of_the_standard(data: bytes, expected: tuple[int, int] | None) -> None:
    assert variable_integer(bytearray(b"xx" + data), 2) == expected
    if expected:
        assert variable_integer(bytearray(b"xx" + data + b"\xff\xff"), 2) == expected


def test_a_variable_integer_of_five_bytes_is_malformed() -> None:
    with pytest.raises(Malformed, match="four bytes"):
        variable_integer(bytearray(b"\x80\x80\x80\x80\x01"), 0)


MESSAGES = st.tuples(
    st.text(max_size=60).map(str.encode),
    st.binary(max_size=300) | st.integers(100, 70_000).map(bytes),
    st.sampled_from([0, 1]),
    st.booleans(),
    st.integers(1, 65_535),
)


@given(
    MESSAGES, st.booleans(), st.none() | st.text("abc/", min_size=1, max_size=20), st.none() | st.binary(max_size=20)
)
def test_what_is_encoded_is_decoded(
    message: tuple[bytes, bytes, int, bool, int], is_v5: bool, content_type: str | None, correlation: bytes | None
) -> None:
    topic, payload, qos, retain, number = message
    packed = packed_properties(content_type, correlation) if is_v5 else None
    packet = encode_publish(topic, payload, qos, retain, number, packed)
    flags, start = split(packet)
    assert packet[0] & 0xF0 == 0x30
    found = decode_publish(bytearray(packet), start, len(packet), flags, has_properties=is_v5)
    head = head_length(bytearray(packet), start, flags, has_properties=is_v5)
    assert head == len(packet) - start - len(payload)
    properties = found.properties
    expected = Publish(topic, payload, qos, retain, number if qos else 0, properties)
    assert found == expected
    if is_v5:
        read = unpacked_properties(properties)
        assert (read.content_type, read.correlation) == (content_type, correlation or None)


@given(MESSAGES)
def test_a_head_is_as_long_however_much_of_it_is_there(message: tuple[bytes, bytes, int, bool, int]) -> None:
    topic, payload, qos, retain, number = message
    packet = encode_publish(topic, payload, qos, retain, number, packed_properties("text/plain", None))
    flags, start = split(packet)
    whole = head_length(bytearray(packet), start, flags, has_properties=True)
    found = [
        head_length(bytearray(packet[:end]), start, flags, has_properties=True) for end in range(start, start + 60)
    ]
    assert set(found) <= {None, whole}


@pytest.mark.parametrize("number", [1, 0xFF, 0x100, 0xFFFF])
def test_a_puback_names_its_message(number: int) -> None:
    packet = encode_puback(number)
    _, start = split(packet)
    assert decode_puback(bytearray(packet), start, len(packet)) == Puback(number)


def test_a_puback_of_version_5_may_have_a_reason() -> None:
    assert decode_puback(bytearray(b"\x01\x02\x97"), 0, 3) == Puback(0x102, 0x97)
    assert decode_puback(bytearray(b"\x01\x02\x10\x00"), 0, 4) == Puback(0x102, 0x10)


@pytest.mark.parametrize(
    ("body", "flags"),
    [
        (b"", 0),
        (b"\x00", 0),
        (b"\x00\x05abc", 0),
        (b"\xff\xff", 0),
        (b"\x00\x01a", 2),  # QoS 1 without a packet identifier
        (b"\x00\x01a\x00", 2),
        (b"\x00\x01a\x00\x00", 2),  # packet identifier 0, section 2.2.1
        (b"\x00\x01a\x00\x01", 6),  # QoS 3, section 3.3.1.2
    ],
)
@pytest.mark.parametrize("behind", [b"", b"\x30\x03\x00\x01a", bytes(300)])
def test_a_publish_that_contradicts_itself_is_malformed(body: bytes, flags: int, behind: bytes) -> None:
    """Whatever packet may stand behind it."""
    with pytest.raises(Malformed):
        decode_publish(bytearray(body + behind), 0, len(body), flags, has_properties=False)


@pytest.mark.parametrize("body", [b"\x00\x01a", b"\x00\x01a\x05", b"\x00\x01a\x05\x01\x01", b"\x00\x01a\x80"])
@pytest.mark.parametrize("behind", [b"", bytes(300), b"\x05"])
def test_properties_that_reach_beyond_their_publish_are_malformed(body: bytes, behind: bytes) -> None:
    with pytest.raises(Malformed):
        decode_publish(bytearray(body + behind), 0, len(body), 0, has_properties=True)


@pytest.mark.parametrize("body", [b"", b"\x01"])
def test_a_puback_without_an_identifier_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_puback(bytearray(body + bytes(9)), 0, len(body))


@given(st.binary(max_size=40))
def test_any_bytes_are_properties_or_malformed(packed: bytes) -> None:
    try:
        unpacked_properties(packed)
    except Malformed:
        return


SHORT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8)


@given(
    st.none() | SHORT.filter(bool),
    st.none() | st.binary(min_size=1, max_size=8),
    st.none() | st.integers(0, 0xFFFFFFFF),
    st.lists(st.tuples(SHORT, SHORT), max_size=3).map(tuple),
)
def test_packed_properties_are_what_paho_packs_and_reads(
    content_type: str | None, correlation: bytes | None, expiry_s: int | None, user: tuple[tuple[str, str], ...]
) -> None:
    packed = packed_properties(content_type, correlation, expiry_s, user)
    theirs = Properties(PacketTypes.PUBLISH)
    theirs.unpack(packed)
    assert getattr(theirs, "ContentType", None) == content_type
    assert getattr(theirs, "CorrelationData", None) == correlation
    assert getattr(theirs, "MessageExpiryInterval", None) == expiry_s
    assert tuple(getattr(theirs, "UserProperty", ())) == user
    length = variable_integer(bytearray(packed), 0)
    assert length is not None and length[0] == len(packed) - length[1]


@given(st.data())
def test_what_paho_packs_is_read(data: st.DataObject) -> None:
    """With every property a PUBLISH may have, in paho's order."""
    theirs = Properties(PacketTypes.PUBLISH)
    theirs.PayloadFormatIndicator = data.draw(st.integers(0, 1))
    theirs.MessageExpiryInterval = expiry_s = data.draw(st.integers(0, 0xFFFFFFFF))
    theirs.ContentType = content_type = data.draw(SHORT)
    theirs.ResponseTopic = topic = data.draw(st.text("ab/", max_size=8))
    theirs.CorrelationData = correlation = data.draw(st.binary(max_size=8))
    theirs.SubscriptionIdentifier = data.draw(st.integers(1, 268_435_455))
    for name in data.draw(st.lists(SHORT, max_size=3)):
        theirs.UserProperty = (name, "x")
    packed = theirs.pack()
    length = variable_integer(bytearray(packed), 0)
    assert length is not None
    body = packed[length[1] :]
    assert unpacked_properties(body) == Found(content_type, topic, correlation, expiry_s)
    for cut in range(1, len(body)):
        with contextlib.suppress(Malformed):
            unpacked_properties(body[:cut])


@pytest.mark.parametrize(
    "packed",
    [
        b"\x03\x00\x02\xff\xfe",  # a content type that is not UTF-8
        b"\x08\x00\x01\xc0",
        b"\x02\x00\x00\x00",  # an expiry of three bytes
        b"\x02\x00\x00\x00\x01" * 2,  # one property twice, section 3.3.2.3.3
        b"\x11\x00\x00\x00\x01",  # a property of other packets
        b"\x26\x00\x01a",  # half a user property
        b"\x0b\x80",
        b"\x09\x00",
    ],
    ids=bytes.hex,
)
def test_properties_that_are_none_are_malformed(packed: bytes) -> None:
    with pytest.raises(Malformed):
        unpacked_properties(packed)


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 15), st.booleans())
def test_any_bytes_are_a_publish_or_malformed(body: bytes, behind: bytes, flags: int, is_v5: bool) -> None:
    try:
        found = decode_publish(bytearray(body + behind), 0, len(body), flags, has_properties=is_v5)
    except Malformed:
        return
    rest = len(found.topic) + len(found.properties) + len(found.payload)
    assert rest <= len(body) and body.endswith(found.payload)
