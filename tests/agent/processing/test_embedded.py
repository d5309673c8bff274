"""Pictures and recordings inside JSON or text: base64 and data URLs, as comparable tools send them."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maas_agent.base import codes
from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DecodeError
from maas_agent.processing.decode import CARRIERS, Decoded, decode
from tests.agent.processing.waves import wave

RGB = Decode((6, 4, 3), "uint8")
SOUND = Decode((100,), "float32", sample_rate=8000)
COLORS = np.random.default_rng(3).integers(0, 256, (6, 4, 3), dtype=np.uint8)
HUNDRED = np.random.default_rng(1).uniform(-1, 0.99, 100).astype(np.float32)


def png(pixels: Any = COLORS) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


TEXT = base64.b64encode(png()).decode()
URL = f"data:image/png;base64,{TEXT}"


def shows_it(decoded: Decoded, *, batched: bool = False) -> bool:
    return decoded.batched is batched and all(np.array_equal(sample, COLORS) for sample in decoded.samples)


def code_of(document: Any, spec: Decode = RGB) -> str:
    with pytest.raises(DecodeError) as refused:
        decode(json.dumps(document).encode(), spec, "application/json")
    assert len(str(refused.value)) < 1000
    return refused.value.code


ONE: dict[str, Any] = {
    "a data URL": URL,
    "base64 alone": TEXT,
    **{f"under {key}": {key: TEXT} for key in CARRIERS},
    "a data URL under image": {"image": URL},
    "with other fields": {"image": TEXT, "id": 7, "time": "now", "camera": {"name": "door"}},
    "as TensorFlow Serving names it": {"image": {"b64": TEXT}},
    "as Roboflow names it": {"image": {"type": "base64", "value": TEXT}},
    "as a URL": {"image": {"url": URL}},
}
SEVERAL: dict[str, Any] = {
    "an array of them": [URL, TEXT],
    "instances of TensorFlow Serving": {"instances": [{"b64": TEXT}, {"b64": TEXT}]},
    "named instances": {"instances": [{"image": {"b64": TEXT}}, {"image": TEXT}]},
    "one instance": {"instances": [{"b64": TEXT}]},
    "instances as text": {"instances": [TEXT, URL]},
    "instances as numbers": {"instances": [COLORS.tolist()] * 2},
}


@pytest.mark.parametrize("name", ONE)
def test_a_picture_in_json(name: str) -> None:
    payload = json.dumps(ONE[name]).encode()
    assert shows_it(decode(payload, RGB, "application/json"))
    if isinstance(ONE[name], dict):
        assert shows_it(decode(payload, RGB))
        assert shows_it(decode(b"\xef\xbb\xbf" + payload, RGB))


@pytest.mark.parametrize("name", SEVERAL)
def test_pictures_in_json_are_a_batch(name: str) -> None:
    assert shows_it(decode(json.dumps(SEVERAL[name]).encode(), RGB), batched=True)


@pytest.mark.parametrize(
    "text", [URL, TEXT, URL + "\n", "\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76))]
)
def test_a_picture_as_text_is_a_picture_whatever_its_size(text: str) -> None:
    """A whole number of raw samples too: the text is filled up to one."""
    assert shows_it(decode(text.encode(), RGB))
    for filled in (text.ljust(-(-len(text) // 72) * 72), text.ljust(-(-len(text) // 72) * 72, "\n")):
        assert shows_it(decode(filled.encode(), RGB))
    assert shows_it(decode(text.encode(), Decode((6, 4, 3), "float32")))


@pytest.mark.parametrize(
    "text",
    [
        base64.urlsafe_b64encode(png()).decode(),
        TEXT.rstrip("="),
        f"data:;base64,{TEXT}",
        f"data:image/png;charset=binary;base64,{TEXT}",
        f"DATA:IMAGE/PNG;BASE64,{TEXT}",
        "data:image/png," + "".join(f"%{byte:02x}" for byte in png()),
    ],
)
def test_every_alphabet_and_every_form_of_a_data_url(text: str) -> None:
    assert shows_it(decode(json.dumps({"image": text}).encode(), RGB))


@pytest.mark.parametrize("how", [{"configured": "image"}, {"content_type": "image/png"}])
@pytest.mark.parametrize("text", [TEXT, URL + "\n", TEXT + "\0"])
def test_a_picture_that_is_said_to_be_one_may_come_as_text(how: dict[str, Any], text: str) -> None:
    """As a small camera sends it."""
    assert shows_it(decode(text.encode(), RGB, **how))
    with pytest.raises(DecodeError) as refused:
        decode(b"no picture at all", RGB, **how)
    assert refused.value.code == codes.BAD_IMAGE


def test_json_may_end_as_strings_of_c_do() -> None:
    assert shows_it(decode(json.dumps({"image": TEXT}).encode() + b"\0", RGB))
    one = Decode((1,), "float32")
    assert decode(b"[21.5]\0\0", one, "application/json").samples.tolist() == [[21.5]]
    assert decode(b"21.5\0", one, configured="json").samples.tolist() == [[21.5]]


def test_a_recording_in_json() -> None:
    text = base64.b64encode(wave(HUNDRED)).decode()
    for document in ({"audio": text}, f"data:audio/wav;base64,{text}", {"data": f"data:audio/x-wav;base64,{text}"}):
        decoded = decode(json.dumps(document).encode(), SOUND, "application/json")
        np.testing.assert_array_equal(decoded.samples[0], decode(wave(HUNDRED), SOUND).samples[0])


def test_an_open_inference_request_with_bytes() -> None:
    tensor = {"name": "x", "shape": [2], "datatype": "BYTES", "data": [TEXT, URL]}
    decoded = decode(json.dumps({"id": "7", "inputs": [tensor]}).encode(), RGB)
    assert shows_it(decoded, batched=True) and decoded.request is not None and decoded.request.id == "7"
    assert code_of({"inputs": [tensor | {"shape": [3]}]}) == codes.WRONG_SHAPE
    assert code_of({"inputs": [tensor | {"data": ["ab", "cd"]}]}) == codes.BAD_JSON


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"value": 21.5}, codes.BAD_JSON),
        ({"image": 7}, codes.BAD_JSON),
        ({"image": "no picture"}, codes.BAD_JSON),
        ({"image": {"path": "/tmp/x"}}, codes.BAD_JSON),
        ({"image": TEXT, "audio": TEXT}, codes.BAD_JSON),
        ({"image": "data:image/png"}, codes.BAD_JSON),
        ({"image": "data:image/png;base64,!!!"}, codes.BAD_JSON),
        ({"image": "data:image/png;base64,AAAA"}, codes.BAD_IMAGE),
        ({"image": "data:image/heic;base64,AAAA"}, codes.UNSUPPORTED),
        ({"image": "data:application/json;base64,W10="}, codes.UNSUPPORTED),
        ({"image": "https://example.org/a.png"}, codes.BAD_JSON),
        ({"image": TEXT[: len(TEXT) // 2]}, codes.BAD_IMAGE),
        ({"image": base64.b64encode(b"fLaC" + bytes(20)).decode()}, codes.UNSUPPORTED),
        ({"instances": []}, codes.WRONG_SHAPE),
        ({"instances": COLORS.tolist()}, codes.WRONG_SHAPE),
        ({"instances": [{"b64": TEXT}, 7]}, codes.WRONG_DTYPE),
        ([TEXT] * 1025, codes.TOO_LARGE),
        ([TEXT, "a"], codes.WRONG_DTYPE),
        ("text", codes.BAD_JSON),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_holds_no_picture_is_refused(document: Any, code: str) -> None:
    assert code_of(document) == code


@given(st.text(alphabet="data:image/png;base64,iVBORw0KGgo=+/_- \n%\0é", max_size=60))
def test_any_text_is_a_sample_or_refused(text: str) -> None:
    for document in (text, {"image": text}, [text], f"data:image/png;base64,{text}", TEXT[:40] + text):
        try:
            decode(json.dumps(document).encode(), RGB, "application/json")
        except DecodeError as error:
            assert error.code in codes.MEANING
