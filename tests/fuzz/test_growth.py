"""Time grows with the input, not with its square: four times as much may not take ten times as long.

It is processor time of this thread, the best of some tries, so that a busy machine changes nothing.
"""

import gc
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from maas_agent.config.toml_lines import line_of
from maas_agent.hub.mqtt.transport.packets import PacketSocket
from maas_agent.worker.sources.command import LineSplitter
from tests.fuzz.on_broker import Wire
from tests.fuzz.on_inputs import wav
from tests.fuzz.targets import TARGETS

FOURFOLD = 10
"""Between 4 (in proportion) and 16 (by the square)."""
TOO_SHORT_S = 0.004
"""To say anything, and no matter."""

_JSON: dict[str, Callable[[int], bytes]] = {
    "brackets": lambda n: b"[" * n,
    "objects": lambda n: b'{"a":' * n,
    "pairs of brackets": lambda n: b"[" + b",".join([b"[]"] * n) + b"]",
    "keys": lambda n: b"{" + b",".join(b'"k%d":0' % at for at in range(n)) + b"}",
    "a string": lambda n: b'"' + b"a" * n,
    "escapes": lambda n: b'["' + b"\\u00e9" * n + b'"]',
    "digits": lambda n: b"[" + b"9" * n + b"]",
    "blanks": lambda n: b" " * n + b"{",
}
_TOML: dict[str, Callable[[int], bytes]] = {
    "bracket and blanks": lambda n: b"[" + b" " * n,
    "a multi-line string": lambda n: b'a = """\n' + b"[\n" * n + b'"""\nb = 1\n',
    "dots": lambda n: b"[" + b"a." * (n // 20) + b"a]\n",
    "digits": lambda n: b"a = " + b"1" * n,
    "unknown keys": lambda n: b"".join(b"key%d = 1\n" % at for at in range(n // 20)),
    "an unknown key": lambda n: b"k" * n + b" = 1\n",
}
_TEXT: dict[str, Callable[[int], bytes]] = {
    "columns": lambda n: b",".join(b"c%d" % at for at in range(n)) + b"\n" + b",".join([b"1"] * n),
    "rows": lambda n: b"a,b,label\n" + b"".join(b"1,2,c%d\n" % at for at in range(n)),
    "quotes": lambda n: b'"' * n,
    "empty lines": lambda n: b"\n" * n,
    "digits": lambda n: b"a,label\n" + b"9" * n + b",x",
}
_VERSIONS: dict[str, Callable[[int], bytes]] = {
    "digits": lambda n: b"1.0.0-" + b"1" * n + b"!\0" + b"1" * n,
    "dots": lambda n: b"1.0.0-" + b"a." * n + b"\0^1" + b".1" * n,
    "comparators": lambda n: b"1.0.0\0" + b">=1.0 " * (n // 10),
    "blanks": lambda n: b"1.0.0\0>=" + b" " * n,
}
_SOUND: dict[str, Callable[[int], bytes]] = {
    "chunks": lambda n: wav()[:12] + b"LIST\0\0\0\0" * n,
    "frames": lambda n: wav(frames=n),
}

_JSON_TARGETS = [name for name in TARGETS if TARGETS[name].form.endswith("json")]
_TOML_TARGETS = ["config.toml", "config.lines", "converter.graph", "converter.preprocess"]
_TEXT_TARGETS = ["samples.csv", "samples.file", "converter.csv"]

CASES = {
    **{(name, what): make for name in _JSON_TARGETS for what, make in _JSON.items()},
    **{(name, what): make for name in _TOML_TARGETS for what, make in _TOML.items()},
    **{(name, what): make for name in _TEXT_TARGETS for what, make in _TEXT.items()},
    **{("bundle.version", what): make for what, make in _VERSIONS.items()},
    **{("input.wav", what): make for what, make in _SOUND.items()},
    ("mqtt.topics", "levels"): lambda n: b"maas/d/digits/in/" + b"a/" * n,
    ("samples.csv", "one column"): lambda n: b"1\n" * n,
}
SIZE = 3000


def seconds(action: Callable[[], object], tries: int = 3) -> float:
    found = []
    gc.disable()  # it goes through all that the other tests have left
    try:
        for _ in range(tries):
            began = time.thread_time()
            action()
            found.append(time.thread_time() - began)
    finally:
        gc.enable()
    return min(found)


def check(of: Callable[[int], Callable[[], object]], size: int) -> None:
    large = seconds(of(4 * size))
    if large > TOO_SHORT_S:
        small = seconds(of(size))
        assert large < FOURFOLD * small, f"{size} took {small * 1e3:.1f} ms, four times as much {large * 1e3:.1f} ms"


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in CASES))
def test_time_grows_with_the_input(name: str) -> None:
    target = TARGETS[name]
    for (of, what), make in CASES.items():
        if of == name:

            def feeding(size: int, make: Callable[[int], bytes] = make) -> Callable[[], object]:
                data = make(size)

                def feed() -> None:
                    with suppress(*target.raises):
                        target.feed(data)

                return feed

            try:
                check(feeding, SIZE)
            except AssertionError as error:
                raise AssertionError(f"{name}, {what}: {error}") from None


def test_a_line_that_comes_byte_by_byte_takes_no_longer_than_its_bytes() -> None:
    def fed(size: int) -> Callable[[], object]:
        def feed() -> None:
            splitter = LineSplitter(1 << 27)
            for _ in range(size):
                splitter.feed(b"x")

        return feed

    check(fed, 50_000)


def test_packets_that_come_byte_by_byte_take_no_longer_than_their_bytes() -> None:
    def fed(size: int) -> Callable[[], object]:
        def feed() -> None:
            data = b"\x30" + b"\xff\xff\x7f" + bytes(size)
            line = PacketSocket(Wire([data[at : at + 1] for at in range(len(data))]), 1 << 27, has_properties=True)
            while not line._closed_by_peer:
                line.fill()
                line.next_packet()

        return feed

    check(fed, 30_000)


def test_the_line_of_a_key_is_found_in_proportion_to_the_text() -> None:
    check(lambda size: lambda: line_of("[" + " " * 900 + "\n" + "a.b = 1\n" * size, "pipeline[1].name"), 20_000)
