"""Recognises inputs whose results are safe when the broker sends them again: they are not computed again.

An acknowledgement can be lost, with the connection or with this process; nobody acknowledges it. Then the broker sends
the input again, with the same packet identifier and the DUP flag (MQTT 5.0 section 4.4). What tells that it is the same
one and not another with the same content: identifier, flag, topic and content, and that its sender has given it an id
or correlation data. One that has neither is computed again, since a broker may use the identifier for another input of
the same content as soon as it has the acknowledgement.

What is known here is on the disk with the results themselves, in one transaction: neither is there without the other.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

_DIGEST_BYTES = 16
_MOST = 4096
"""Inputs that are remembered. Brokers wait for the acknowledgement of fewer; the older ones have arrived long ago."""
_MOST_UNSAVED = 512
"""Of those whose results the broker took at once so many are written when there is something else to write."""


def digest(*parts: bytes) -> bytes:
    """16 bytes that tell these parts from any others."""
    content = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        content.update(len(part).to_bytes(8, "big"))
        content.update(part)
    return content.digest()


class InputIdentity(msgspec.Struct, eq=False):
    """An input of QoS 1 on one connection: its packet identifier, and the digest of its topic and content."""

    number: int
    digest: bytes
    left: int = 1
    """Copies of its result that are neither on the disk nor at the broker."""


class AnsweredInput(msgspec.Struct, frozen=True):
    """An input that was answered. ``key`` is that of the result on the disk, or of what is no longer there."""

    number: int
    digest: bytes
    key: int


class AnsweredInputs:
    """Knows the newest of them, by packet identifier. `changes` and `saved` are for who writes them to the disk."""

    def __init__(self) -> None:
        self._known: dict[int, AnsweredInput] = {}
        self._numbers: dict[int, int] = {}
        """By the keys of their results."""
        self._new: dict[int, AnsweredInput] = {}
        self._gone: set[int] = set()

    def found(self, known: Iterable[AnsweredInput]) -> None:
        """An earlier run has left these, the oldest first; what this one knows is newer."""
        for one in known:
            if one.number not in self._known:
                self._enter(one)

    def add(self, one: InputIdentity, key: int) -> None:
        """All copies of its result are safe; the last one has this key."""
        known = AnsweredInput(one.number, one.digest, key)
        self._enter(known)
        self._new.pop(one.number, None)
        self._new[one.number] = known
        if len(self._new) > _MOST_UNSAVED:
            del self._new[next(iter(self._new))]

    def find(self, one: InputIdentity) -> AnsweredInput | None:
        """What is known of an input that comes again."""
        known = self._known.get(one.number)
        return known if known is not None and known.digest == one.digest else None

    def forget(self, number: int) -> None:
        """The broker uses the identifier for another message: it has the acknowledgement."""
        known = self._known.pop(number, None)
        if known is not None:
            self._numbers.pop(known.key, None)
            self._new.pop(number, None)
            self._gone.add(number)

    def dropped(self, key: int) -> None:
        """A result was given up: should its input come again, it is computed again.

        It may be the first of two copies, whose keys follow each other. To forget one too many costs a second answer.
        """
        for each in (key, key + 1):
            if each in self._numbers:
                self.forget(self._numbers[each])

    def clear(self) -> None:
        """What was on the disk cannot be read any more."""
        for number in list(self._known):
            self.forget(number)

    def _enter(self, known: AnsweredInput) -> None:
        self.forget(known.number)
        self._gone.discard(known.number)
        self._known[known.number] = known
        self._numbers[known.key] = known.number
        if len(self._known) > _MOST:
            self.forget(next(iter(self._known)))

    # ------------------------------------------------------------- the disk

    def changes(self, written: Sequence[tuple[InputIdentity, int]]) -> tuple[list[AnsweredInput], list[int]]:
        """What is to be written with results of which these are: inputs, and identifiers to be forgotten."""
        new = {known.number: known for known in self._new.values()}
        new |= {one.number: AnsweredInput(one.number, one.digest, key) for one, key in written}
        return list(new.values()), [number for number in self._gone if number not in new]

    def saved(self, written: Sequence[tuple[InputIdentity, int]]) -> None:
        """It is on the disk."""
        self._new.clear()
        self._gone.clear()
        for one, key in written:
            self._enter(AnsweredInput(one.number, one.digest, key))
