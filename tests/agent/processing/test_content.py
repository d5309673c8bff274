"""Which form a payload has."""

import pytest

from maas_agent.errors import DecodeError
from maas_agent.processing.content import Form, form_of

PNG, JPEG = b"\x89PNG\r\n\x1a\n....", b"\xff\xd8\xff\xe0...."
WAV = b"RIFF\x04\0\0\0WAVE"


@pytest.mark.parametrize(
    ("payload", "form"),
    [
        (PNG, "image"),
        (JPEG, "image"),
        (WAV, "audio"),
        (b"RIFF....AVI ", "raw"),
        (b"RIFF....WAV", "raw"),
        (b"RF64\xff\xff\xff\xffWAVE", "audio"),
        (b"RIFX\0\0\0\4WAVE", "audio"),
        (b"RIFF....WEBP", "image"),
        (b"GIF89a", "image"),
        (b"II*\0....", "image"),
        (b"MM\0*....", "image"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "image"),
        (b"BM" + bytes(16), "raw"),
        (b"[1]", "json"),
        (b"\xef\xbb\xbf [1]", "json"),
        ("\ufeff[1]".encode("utf-16-le"), "json"),
        (b'{"inputs": []}', "json"),
        (b" \r\n\t [1]", "json"),
        (b"anything", "raw"),
        (b"\x89PNG", "raw"),
        (b" " * 64 + b"[1]", "raw"),
        (b"", "raw"),
    ],
)
def test_without_any_word_the_bytes_tell(payload: bytes, form: Form) -> None:
    assert form_of(payload, None, None, sample_bytes=64) == form


@pytest.mark.parametrize("payload", [PNG, JPEG, WAV, b"[1", b"{\x00}", b"[\xff]", b"[" * 100_000])
def test_bytes_of_the_size_of_a_sample_are_raw_whatever_they_begin_like(payload: bytes) -> None:
    assert form_of(payload, None, None, sample_bytes=len(payload)) == "raw"


@pytest.mark.parametrize("payload", [b"[1, 2, 3.25]", b' {"inputs": []}', b"[]"])
def test_bytes_of_the_size_of_a_sample_that_are_json_as_a_whole_are_json(payload: bytes) -> None:
    """An array of three float32 values, written down, can be as long as the values themselves."""
    assert form_of(payload, None, None, sample_bytes=len(payload)) == "json"


@pytest.mark.parametrize("configured", ["raw", "json", "image", "audio"])
@pytest.mark.parametrize("payload", [PNG, b"[1]", b"raw!"])
def test_the_configuration_goes_before_the_bytes(payload: bytes, configured: Form) -> None:
    assert form_of(payload, None, configured, sample_bytes=4) == configured


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/octet-stream", "raw"),
        ("application/json", "json"),
        ("text/json", "json"),
        ("image/png", "image"),
        ("image/jpeg", "image"),
        ("image/jpg", "image"),
        ("image/bmp", "image"),
        ("image/x-ms-bmp", "image"),
        ("image/gif", "image"),
        ("image/webp", "image"),
        ("image/tiff", "image"),
        ("audio/wav", "audio"),
        ("audio/wave", "audio"),
        ("audio/x-wav", "audio"),
        ("audio/vnd.wave", "audio"),
        ("audio/vnd.wave; codec=1", "audio"),
        ("Application/JSON; charset=utf-8", "json"),
        (" image/png ;q=1", "image"),
    ],
)
@pytest.mark.parametrize("configured", [None, "raw", "image"])
def test_the_content_type_goes_before_everything(content_type: str, form: Form, configured: Form | None) -> None:
    assert form_of(b"[1]", content_type, configured, sample_bytes=3) == form


def test_an_empty_content_type_says_nothing() -> None:
    assert form_of(b"[1]", "", None, sample_bytes=64) == "json"


@pytest.mark.parametrize("content_type", ["text/plain", "image/heic", ";", "json", "image/*", "audio/mpeg"])
def test_a_content_type_that_nobody_reads_is_refused_with_those_that_are(content_type: str) -> None:
    with pytest.raises(DecodeError, match=r"application/json.*image/png.*audio/wav") as refused:
        form_of(b"[1]", content_type, "raw", sample_bytes=3)
    assert refused.value.code == "unsupported"
