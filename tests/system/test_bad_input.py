"""Whatever arrives: an error result with a code, a counter, and nothing else."""

import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.bundles import samples
from tests.system.console import Console
from tests.system.device import Device


def png(size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, 7).save(buffer, "PNG")
    return buffer.getvalue()


BAD = {
    "wrong-shape": (json.dumps([[1, 2], [3, 4]]), "wrong_shape"),
    "wrong-size": (b"\x00" * 63, "wrong_shape"),
    "wrong-dtype-text": (json.dumps(["a"] * 64), "wrong_dtype"),
    "wrong-dtype-range": (json.dumps([300] * 64), "wrong_dtype"),
    "wrong-dtype-fraction": (json.dumps([0.5] * 64), "wrong_dtype"),
    "truncated-png": (png((64, 64))[:-30], "bad_image"),
    "not-json": (b'{"inputs": [', "bad_json"),
    "not-a-request": (b'{"hello": "world"}', "bad_json"),
    "nan": (b"[" + b"NaN," * 63 + b"NaN]", "not_finite"),
    "infinity": (b"[" + b"Infinity," * 63 + b"1]", "not_finite"),
    "empty": (b"", "empty"),
    "ragged": (b"[[1,2],[3]]", "wrong_shape"),
    "deep-json": (b"[" * 100_000, "bad_json"),
    "too-many-in-a-batch": (bytes(64 * 1025), "too_large"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_gets_an_error_with_a_code_and_the_next_one_its_answer(
    shared: tuple[Device, Console], name: str
) -> None:
    serving, console = shared
    payload, code = BAD[name]
    counted = errors(console, code)
    document = console.ask("dev", "digits", payload, name)
    assert document["error"]["code"] == code
    assert document["error"]["message"]
    assert "result" not in document
    assert "result" in console.ask("dev", "digits", samples(1)[0].tobytes(), "good")
    console.wait("maas/dev/metrics", lambda m: errors_in(m, code) == counted + 1)
    assert "Traceback" not in serving.log()


def test_an_id_of_several_levels_is_an_error(shared: tuple[Device, Console]) -> None:
    _, console = shared
    console.publish("maas/dev/digits/in/a/b", samples(1)[0].tobytes())
    document = console.wait("maas/dev/digits/out", lambda d: "error" in d).document
    assert document["error"]["code"] == "bad_id"


def test_an_unknown_content_type_is_an_error(shared: tuple[Device, Console]) -> None:
    _, console = shared
    document = console.ask("dev", "digits", b"x", "ct", ContentType="text/plain")
    assert document["error"]["code"] == "unsupported"


def test_a_retained_input_is_not_answered_again_on_every_connect(serving: Device, console: Console) -> None:
    console.publish("maas/dev/digits/in/kept", samples(1)[0].tobytes(), retain=True)
    console.wait("maas/dev/digits/out/kept")
    serving.stop()
    console.forget()
    serving.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    console.ask("dev", "digits", samples(1)[0].tobytes(), "fresh")
    assert console.on("maas/dev/digits/out/kept") == []


GARBAGE = ["", "init", "[]", "{}", '{"status": "done"}', "\xff", "[" * 5000]


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_on_a_command_topic_is_ignored(shared: tuple[Device, Console], number: int) -> None:
    _, console = shared
    console.publish(f"maas/dev/cmd/update/{number}", GARBAGE[number])
    console.publish(f"maas/dev/cmd/no-such/{number}", '{"status": "init"}')
    answer = console.wait(f"maas/dev/cmd/no-such/{number}", lambda d: d["status"] == "failed").document
    assert "update" in answer["reason"]
    assert len(console.on(f"maas/dev/cmd/update/{number}")) == 1


def errors(console: Console, code: str) -> int:
    """How many the device has counted: asked of a document that is younger than this call."""
    console.forget()
    return errors_in(console.wait("maas/dev/metrics").document, code)


def errors_in(metrics: dict[str, Any], code: str) -> int:
    return int(metrics["pipelines"]["digits"]["errors"].get(code, 0))
