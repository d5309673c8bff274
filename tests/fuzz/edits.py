"""Hostile inputs made of good ones: a few edits, below the structure (bytes) or within it (fields, entries, chunks).

An `Edit` is plain data, so that whoever searches (Hypothesis, libFuzzer) can vary and shrink it. What no longer has its
structure is edited as bytes.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import msgspec


class Edit(NamedTuple):
    """``at`` (0 to 65535) is where, as a part of the whole; ``kind`` what is done, with ``what`` and ``data``."""

    kind: int
    at: int
    what: int
    data: bytes


NUMBERS = (
    0,
    1,
    -1,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 63,
    (1 << 64) - 1,
)
BEHIND = "1+"
"""Of a form: the first byte says how the others are fed, and stays."""

_DEEP, _HUGE, _LARGE = "@deep@", "@huge@", "@large@"
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    *NUMBERS,
    -(1 << 63),
    10**30,
    0.5,
    -0.0,
    1e-320,
    1e308,
    float("nan"),
    float("inf"),
    _DEEP,
    _HUGE,
    _LARGE,
    "",
    "a",
    "a" * 1000,
    "../../etc/passwd",
    "\0",
    "\u2028",
    "\U0001f600",
    "\ud800",
    "é",
    "+/#",
    "0" * 64,
    "f" * 64,
    "1.0.0",
    "2.0.0-rc.1",
    "1.0.0-" + "9" * 5000,
    "9" * 5000 + ".0.0",
    "2026-01-31T12:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "init",
    "NaN",
    "1e5",
    [],
    [[]],
    [0] * 300,
    {},
    {"a": {"b": {"c": []}}},
    [[[[[[[[[[[[]]]]]]]]]]]],
)
"""What stands in the place of a field."""


def random_edits(random: Random, most: int = 4) -> list[Edit]:
    """A few edits, most often one."""
    count = 1 + min(int(random.expovariate(1.0)), most - 1)
    return [
        Edit(
            random.randrange(256),
            random.randrange(1 << 16),
            random.randrange(1 << 16),
            random.randbytes(random.choice((1, 1, 2, 4, 8, 30))),
        )
        for _ in range(count)
    ]


def edited(seed: bytes, form: str, edits: Sequence[Edit], words: Sequence[bytes] = ()) -> bytes:
    """``seed`` after ``edits``; every fourth of them is one of bytes, whatever the ``form``."""
    if form.startswith(BEHIND):
        return seed[:1] + edited(seed[1:], form.removeprefix(BEHIND), edits, words)
    within = [edit for edit in edits if edit.kind % 4]
    below = [edit for edit in edits if not edit.kind % 4]
    data = seed
    if form != "bytes" and within:
        try:
            data = FORMS[form](seed, within)
        except Exception:  # it has lost its structure
            below = list(edits)
    elif form == "bytes":
        below = list(edits)
    for edit in below:
        data = _bytes(data, edit, words)
    return data


def _bytes(data: bytes, edit: Edit, words: Sequence[bytes]) -> bytes:
    at = edit.at * (len(data) + 1) >> 16
    number = NUMBERS[edit.what % len(NUMBERS)]
    size, order = (1, 2, 4, 8)[edit.what % 4], ("big", "little")[edit.what // 4 % 2]
    packed = (number % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]
    span = edit.what % 64 + 1
    match edit.kind // 4 % 10:
        case 0 if data:
            at = min(at, len(data) - 1)
            return data[:at] + bytes((data[at] ^ 1 << edit.what % 8,)) + data[at + 1 :]
        case 1:
            return data[:at] + edit.data + data[at:]
        case 2:
            return data[:at] + edit.data + data[at + len(edit.data) :]
        case 3:
            return data[:at] + data[at + span :]
        case 4:
            return data[:at] + data[at : at + span] * (2 + edit.what % 5) + data[at:]
        case 5:
            return data[:at]
        case 6:
            return data[:at] + packed + data[at + size :]
        case 7 if words:
            return data[:at] + words[edit.what % len(words)] + data[at:]
        case 8:
            return data[:at] + edit.data[:1] * (edit.what % 3000) + data[at:]
        case 9 if words:
            word = words[edit.what % len(words)]
            return data[:at] + word + data[at + len(word) :]
    return data + edit.data


# ----------------------------------------------------------------- trees: JSON, MessagePack


def tree_edited(tree: Any, edits: Sequence[Edit]) -> Any:
    """A document of lists, dicts and values after ``edits``; it is changed in place."""
    holder = [tree]
    for edit in edits:
        nodes = list(_nodes(holder))
        parent, key = nodes[edit.at * len(nodes) >> 16]
        _change(parent, key, edit, nodes)
    return holder[0]


def _nodes(root: list[Any]) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = [(root, 0)]
    for parent, key in found:
        value = parent[key]
        if len(found) > 2000:
            break
        if isinstance(value, dict):
            found += [(value, name) for name in value]
        elif isinstance(value, list):
            found += [(value, at) for at in range(len(value))]
    return found


def _change(parent: Any, key: Any, edit: Edit, nodes: list[tuple[Any, Any]]) -> None:
    value = VALUES[edit.what % len(VALUES)]
    match edit.kind // 4 % 8:
        case 0 | 1 | 2:
            parent[key] = json.loads(json.dumps(value)) if isinstance(value, list | dict) else value
        case 3 if len(nodes) > 1:
            del parent[key]
            if not parent and parent is nodes[0][0]:
                parent.append(None)
        case 4 if isinstance(parent, list):
            parent[key:key] = [parent[key]] * (1 + edit.what % 3)
        case 4 if isinstance(parent, dict):
            parent[str(value)[:80] if edit.what % 2 else f"{key}2"] = parent[key]
        case 5:
            there, name = nodes[edit.what * len(nodes) >> 16]
            moved = there[name]
            parent[key] = moved if not isinstance(moved, list | dict) else json.loads(json.dumps(moved, default=str))
        case 6 if isinstance(parent[key], str):
            text = parent[key]
            at = edit.what * (len(text) + 1) >> 16
            parent[key] = text[:at] + edit.data.decode("latin-1") + text[at + edit.kind % 3 :]
        case 6 if isinstance(parent[key], bytes):
            parent[key] = _bytes(parent[key], edit._replace(kind=edit.what % 40), ())
        case 6 if isinstance(parent[key], int | float):
            parent[key] = parent[key] * (edit.what % 7 - 3) + edit.what % 5
        case 7:
            parent[key] = [parent[key]]
        case _:
            parent[key] = value


def _json(seed: bytes, edits: Sequence[Edit]) -> bytes:
    text = json.dumps(tree_edited(json.loads(seed), edits))
    return (
        text.replace(f'"{_DEEP}"', "[" * 3000 + "]" * 3000)
        .replace(f'"{_HUGE}"', "9" * 5000)
        .replace(f'"{_LARGE}"', "9" * 400)
        .encode()
    )


def _packed(tree: Any) -> bytes:
    return msgspec.msgpack.encode(tree).replace(b"\xa6" + _DEEP.encode(), b"\x91" * 3000 + b"\xc0")


def _msgpack(seed: bytes, edits: Sequence[Edit]) -> bytes:
    return _packed(tree_edited(msgspec.msgpack.decode(seed), edits))


def _frames(seed: bytes, edits: Sequence[Edit]) -> bytes:
    """The worker's frames: a length of 4 bytes and MessagePack each; see `maas_agent.ipc`."""
    bodies, at = [], 0
    while at < len(seed):
        (length,) = struct.unpack_from("<I", seed, at)
        bodies.append(msgspec.msgpack.decode(seed[at + 4 : at + 4 + length]))
        at += 4 + length
    tree = tree_edited(bodies, edits)
    packed = [_packed(body) for body in (tree if isinstance(tree, list) else [tree])]
    return b"".join(len(body).to_bytes(4, "little") + body for body in packed)


def _lines(seed: bytes, edits: Sequence[Edit]) -> bytes:
    """JSON documents, one a line."""
    lines = seed.split(b"\n")
    for edit in edits:
        at = edit.at * len(lines) >> 16
        lines[at] = _json(lines[at], [edit._replace(at=edit.what)])
    return b"\n".join(lines)


# ----------------------------------------------------------------- containers


def _zip(seed: bytes, edits: Sequence[Edit]) -> bytes:
    """Entries renamed, doubled, compressed, linked, edited inside: an archive that is whole, and not what it was."""
    with zipfile.ZipFile(io.BytesIO(seed)) as archive:
        entries = [
            (info.filename, archive.read(info), info.compress_type, info.external_attr) for info in archive.infolist()
        ]
    for edit in edits:
        at = edit.at * len(entries) >> 16
        name, data, kind, attributes = entries[at]
        match edit.kind // 4 % 8:
            case 0:
                entries[at] = (str(VALUES[edit.what % len(VALUES)])[:200], data, kind, attributes)
            case 1:
                entries.insert(at, entries[at])
            case 2:
                chosen = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)[edit.what % 4]
                entries[at] = (name, data, chosen, attributes)
            case 3:
                entries[at] = (name, data, kind, (0o120777, 0o040755, 0o010644)[edit.what % 3] << 16)
            case 4 if len(entries) > 1:
                del entries[at]
            case 5 if data[:1] == b"{":
                entries[at] = (name, _json(data, [edit._replace(at=edit.what)]), kind, attributes)
            case _:
                inner = edit._replace(kind=edit.what % 40, at=edit.what * 7919 % 65536)
                entries[at] = (name, _bytes(data, inner, _NPY_WORDS), kind, attributes)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data, kind, attributes in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = kind, attributes
            archive.writestr(info, data)
    return made.getvalue()


_NPY_WORDS = (
    b"<f4",
    b">f8",
    b"|S0",
    b"<U0",
    b"|V9",
    b"|O",
    b"<m8",
    b"|b1",
    b"(1099511627776,)",
    b"(-1,)",
    b"(0,)",
    b"True",
    b"(3, 3)",
    b"[('a', '<f4')]",
)


def _png(seed: bytes, edits: Sequence[Edit]) -> bytes:
    """Chunks edited, doubled, moved, left out; their check sums are right again."""
    chunks, at = [], 8
    while at + 8 <= len(seed):
        length, name = struct.unpack_from(">I4s", seed, at)
        chunks.append((name, seed[at + 8 : at + 8 + length]))
        at += 12 + length
    for edit in edits:
        at = edit.at * len(chunks) >> 16
        name, body = chunks[at]
        match edit.kind // 4 % 8:
            case 0:
                chunks.insert(at, chunks[edit.what % len(chunks)])
            case 1 if len(chunks) > 1:
                del chunks[at]
            case 2:
                chunks[at] = (
                    (
                        b"IHDR",
                        b"PLTE",
                        b"tRNS",
                        b"iCCP",
                        b"zTXt",
                        b"iTXt",
                        b"eXIf",
                        b"acTL",
                        b"fcTL",
                        b"fdAT",
                        b"gAMA",
                        b"pHYs",
                    )[edit.what % 12],
                    body,
                )
            case 3 if name == b"IDAT":
                raw = zlib.decompress(body)
                chunks[at] = (name, zlib.compress(_bytes(raw, edit._replace(kind=edit.what % 40), ())))
            case 4 if name == b"IHDR":
                sizes = (1, 2, 9, 0, 8192, 65535, 1 << 26, (1 << 31) - 1)
                wide = struct.pack(">II", sizes[edit.what % 8], sizes[edit.what // 8 % 8])
                chunks[at] = (
                    name,
                    wide + bytes(((1, 2, 4, 8, 16)[edit.what % 5], (0, 2, 3, 4, 6)[edit.what // 5 % 5])) + body[10:],
                )
            case _:
                chunks[at] = (name, _bytes(body, edit._replace(kind=edit.what % 40, at=edit.what), ()))
    made = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return seed[:8] + b"".join(made)


def _packets(seed: bytes, edits: Sequence[Edit]) -> bytes:
    """MQTT packets edited inside, doubled, moved; their lengths are right again."""
    packets, at = [], 0
    while at < len(seed):
        length = shift = 0
        head = at + 1
        while True:
            byte = seed[head]
            length |= (byte & 0x7F) << shift
            shift, head = shift + 7, head + 1
            if byte < 0x80:
                break
        packets.append((seed[at], seed[head : head + length]))
        at = head + length
    for edit in edits:
        at = edit.at * len(packets) >> 16
        first, body = packets[at]
        match edit.kind // 4 % 8:
            case 0:
                packets.insert(at, packets[edit.what % len(packets)])
            case 1:
                packets[at] = (edit.what % 256, body)
            case 2 if len(packets) > 1:
                del packets[at]
            case _:
                packets[at] = (first, _bytes(body, edit._replace(kind=edit.what % 40, at=edit.what), ()))
    return b"".join(bytes((first,)) + _length(len(body)) + body for first, body in packets)


def _length(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        encoded.append(low | (0x80 if value else 0))
        if not value:
            return bytes(encoded)


# ----------------------------------------------------------------- Protocol Buffers


def _proto(seed: bytes, edits: Sequence[Edit]) -> bytes:
    """A message whose fields are changed, doubled, moved, left out, at any depth; lengths are right again."""
    message = _fields(seed)
    if message is None:
        raise ValueError("this is no message")
    for edit in edits:
        places = _proto_places(message)
        holder, at = places[edit.at * len(places) >> 16]
        number, kind, value = holder[at]
        match edit.kind // 4 % 8:
            case 0 if len(holder) > 1:
                del holder[at]
            case 1:
                holder.insert(at, holder[at])
            case 2:
                other, place = places[edit.what * len(places) >> 16]
                if other[place][1] == kind and not isinstance(value, list):
                    holder[at] = other[place]
            case 3:
                holder[at] = (edit.what % 64 + 1, kind, value)
            case _ if kind == 0:
                holder[at] = (number, kind, NUMBERS[edit.what % len(NUMBERS)] % (1 << 64))
            case _ if isinstance(value, bytes):
                words = (*PROTO_WORDS, edit.data, value + edit.data, value[: len(value) // 2], value * 3)
                holder[at] = (
                    number,
                    kind,
                    words[edit.what % len(words)] if kind == 2 else edit.data.ljust(len(value))[: len(value)],
                )
            case _:
                holder.append(holder[at])
    return _message(message)


PROTO_WORDS = (
    b"WriteFile",
    b"ReadFile",
    b"SaveV2",
    b"RestoreV2",
    b"PyFunc",
    b"PartitionedCall",
    b"StatefulPartitionedCall",
    b"While",
    b"VarHandleOp",
    b"NoOp",
    b"^init",
    b"serve",
    b"serving_default",
    b"__saved_model_init_op",
    b"../../etc/passwd",
    b"\xff\xfe",
    b"",
)
_Field = tuple[int, int, Any]


def _fields(data: bytes) -> list[_Field] | None:
    """The fields of a message: number, wire type, and a number, bytes, or the fields of a message in it."""
    found, at = list[_Field](), 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            found.append((number, kind, value))
            continue
        size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, -1), at)
        if at < 0 or size < 0 or number == 0 or at + size > len(data):
            return None
        part = data[at : at + size]
        inner = _fields(part) if kind == 2 and len(part) > 1 else None
        found.append((number, kind, part if inner is None else inner))
        at += size
    return found if at == len(data) else None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while 0 <= at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at
    return 0, -1 if not data else len(data) + 1


def _message(fields: list[_Field]) -> bytes:
    made = bytearray()
    for number, kind, value in fields:
        made += _length(number << 3 | kind)
        if kind == 0:
            made += _length(value)
            continue
        part = _message(value) if isinstance(value, list) else value
        made += (_length(len(part)) if kind == 2 else b"") + part
    return bytes(made)


def _proto_places(message: list[_Field]) -> list[tuple[list[_Field], int]]:
    found, left = list[tuple[list[_Field], int]](), [message]
    for fields in left:
        for at, (_, _, value) in enumerate(fields):
            found.append((fields, at))
            if isinstance(value, list):
                left.append(value)
        if len(found) > 5000:
            break
    return found


FORMS: dict[str, Callable[[bytes, Sequence[Edit]], bytes]] = {
    "json": _json,
    "lines": _lines,
    "msgpack": _msgpack,
    "frames": _frames,
    "zip": _zip,
    "png": _png,
    "packets": _packets,
    "proto": _proto,
}
"""Beside ``bytes``: how structured edits are made."""
