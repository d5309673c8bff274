"""The manifest: what is written is read, and what contradicts itself is refused."""

import re
from typing import Any

import msgspec
import pytest

from maas_agent import __version__
from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    Multilabel,
    decode_manifest,
    digest_of,
    encode_manifest,
    lowest_schema,
)
from maas_agent.bundle.schema import NEWEST, OLDEST
from maas_agent.errors import BundleError
from tests.bundles import make_bundle


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole manifest as its bytes."""
    with open_bundle(make_bundle(tmp_path_factory.mktemp("bundle") / "a.maas", dtype="int8")) as bundle:
        return bundle.manifest_bytes


def changed(written: bytes, path: str, value: Any) -> bytes:
    """The manifest with another value at ``path``, such as ``inputs.0.tensor.shape``; ``...`` removes it."""
    document = msgspec.json.decode(written)
    *way, last = path.split(".")
    part = document
    for step in way:
        part = part[int(step) if isinstance(part, list) else step]
    key: Any = int(last) if isinstance(part, list) else last
    if value is ...:
        del part[key]
    else:
        part[key] = value
    return msgspec.json.encode(document)


def test_what_is_encoded_is_decoded_and_its_digest_is_stable(written: bytes) -> None:
    manifest = decode_manifest(written)
    assert encode_manifest(manifest) == written
    assert decode_manifest(encode_manifest(manifest)) == manifest
    assert digest_of(encode_manifest(decode_manifest(written))) == digest_of(written)


def test_a_field_that_is_missing_and_has_a_default_gets_it(written: bytes) -> None:
    """Defaults are left out when writing, so that an older digest stays what it was."""
    assert b'"resize"' not in written
    assert decode_manifest(written).inputs[0].decode.resize == "bilinear"


@pytest.mark.parametrize(("field", "value"), [("orientation", "stored"), ("background", [255, 255, 255])])
def test_how_a_picture_is_turned_and_what_lies_behind_it_came_with_schema_2(
    written: bytes, field: str, value: Any
) -> None:
    """A device that does not know them would answer another picture without a word."""
    document = changed(written, f"inputs.0.decode.{field}", value)
    with pytest.raises(BundleError, match=rf"states schema 1, but has Decode\.{field}, which came with 2"):
        decode_manifest(document)
    manifest = decode_manifest(changed(document, "schema", 2))
    assert lowest_schema(manifest) == 2 and lowest_schema(decode_manifest(written)) == 1


@pytest.mark.parametrize("schema", [0, NEWEST + 1, 99, -1])
def test_an_unknown_schema_is_refused_before_anything_else_is_read(schema: int) -> None:
    """A newer manifest may look quite different: the sentence says what to do, not what is odd about it."""
    with pytest.raises(
        BundleError, match=f"schema {schema}, this program reads {OLDEST} to {NEWEST}: update maas-edge"
    ):
        decode_manifest(msgspec.json.encode({"schema": schema, "something": "new"}))


@pytest.mark.parametrize(
    ("path", "value", "unknown"),
    [
        ("window", {"hop": 1}, r"`window` at the top"),
        ("inputs.0.window", {"hop": 1}, r"`window` at inputs\[0\]"),
        ("outputs.0.postprocess.kind", "detection", r"'detection' at outputs\[0\]\.postprocess\.kind"),
        ("inputs.0.decode.resize", "lanczos", r"'lanczos' at inputs\[0\]\.decode\.resize"),
        ("version", "1.0.0", None),
    ],
)
def test_a_newer_manifest_is_refused_with_what_it_needs(
    written: bytes, path: str, value: Any, unknown: str | None
) -> None:
    """Which schema, what of it is not known here, and which maas-edge this is."""
    document = changed(changed(written, path, value), "schema", NEWEST + 1)
    told = f" and not {unknown}" if unknown else ""
    words = rf"schema {NEWEST + 1}, this program reads .* \({re.escape(__version__)} knows schema {NEWEST}{told}\)"
    with pytest.raises(BundleError, match=words):
        decode_manifest(document)


@pytest.mark.parametrize(
    "path", ["extra", "stages.0.extra", "inputs.0.decode.extra", "outputs.0.postprocess.extra", "golden.extra"]
)
def test_an_unknown_field_is_refused(written: bytes, path: str) -> None:
    """A device that skipped a step it does not know would answer wrongly without a word."""
    with pytest.raises(BundleError, match="unknown field"):
        decode_manifest(changed(written, path, 1))


REFUSED = [
    # path, value, words of the sentence
    ("name", "../etc", "not valid"),
    ("name", "Digits", "not valid"),
    ("name", "a\n", "not valid"),
    ("version", "1.2", "is no version"),
    ("version", "1.2.0\n", "is no version"),
    ("stages", [], "not valid"),
    ("stages.0.inputs", ["nothing"], "which nothing before it makes"),
    ("stages.0.inputs", [], "not valid"),
    ("stages.0.outputs", ["other"], "are made by no stage"),
    ("stages.0.blob", "A" * 64, "not valid"),
    ("stages.0.blob", "a" * 64 + "\n", "not valid"),
    ("stages.0.size", 0, "not valid"),
    ("inputs", [], "not valid"),
    ("inputs.0.tensor.shape", [1, 8, 9, 1], "does not fill"),
    ("inputs.0.tensor.shape", [1, 8, 0, 1], "not valid"),
    ("inputs.0.tensor.shape", [1 << 24, 1 << 24], "has more than"),
    ("inputs.0.tensor.dtype", "float64", "not valid"),
    ("inputs.0.tensor.quantization.scale", 0.0, "quantization scale"),
    ("inputs.0.tensor.quantization.scale", -1.0, "quantization scale"),
    ("inputs.0.tensor.quantization.scale", 1e-320, "quantization scale"),
    ("inputs.0.tensor.quantization.zero_point", 10**400, "quantization zero_point"),
    ("inputs.0.decode.shape", [4], "does not fill"),
    ("inputs.0.preprocess", [{"op": "sharpen"}], "not valid"),
    ("inputs.0.preprocess", [{"op": "normalize", "mean": [], "std": [1]}], "not valid"),
    ("inputs.0.preprocess", [{"op": "normalize", "mean": [0, 0, 0], "std": [1]}], "3 means and 1 deviations"),
    ("inputs.0.preprocess", [{"op": "normalize", "mean": [0], "std": [1, 1]}], "1 means and 2 deviations"),
    ("inputs.0.preprocess", [{"op": "normalize", "mean": [0], "std": [0]}], "not positive"),
    ("outputs", [], "not valid"),
    ("stages.0.outputs", ["scores", "scores"], "makes 'scores', which is there already"),
    ("stages.0.outputs", ["image"], "makes 'image', which is there already"),
    ("stages.0.when", {"edge": "nothing", "below": 1}, "condition on 'nothing', which nothing before it makes"),
    ("stages.0.when", {"edge": "scores", "below": 1}, "condition on 'scores', which nothing before it makes"),
    ("stages.0.when", {"edge": "image"}, "either at_least or below"),
    ("stages.0.when", {"edge": "image", "below": 1, "at_least": 0}, "either at_least or below"),
    ("stages.0.when", {"edge": "image", "below": 1, "index": -1}, "not valid"),
    ("stages.0.when", {"edge": "image", "below": 1, "index": 63}, "no output is always made"),
    ("outputs.0.otherwise", "nothing", "otherwise = 'nothing', which no stage makes"),
    ("outputs.0.otherwise", "image", "output 'scores' is .1, 10., its otherwise 'image' is .1, 8, 8, 1."),
    ("outputs.0.otherwise", "scores", "stand in for itself: scores → scores"),
    ("outputs.0.labels", ["one"], "10 classes and 1 labels"),
    ("outputs.0.postprocess", {"kind": "multilabel"}, "states schema 1, but has Multilabel, which came with 2"),
    ("outputs.0.postprocess", {"kind": "classification", "binary": True}, "Classification.binary"),
    ("outputs.0.postprocess", {"kind": "dream"}, "not valid"),
    ("outputs.0.postprocess", {"kind": "classification", "top": 0}, "not valid"),
    ("golden.samples", 0, "not valid"),
    ("golden.tolerance", -0.1, "not valid"),
    ("golden", ..., "not valid"),
]


@pytest.mark.parametrize(("path", "value", "words"), REFUSED)
def test_a_manifest_that_contradicts_itself_is_refused(written: bytes, path: str, value: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        decode_manifest(changed(written, path, value))


def test_a_stage_may_only_use_what_comes_before_it(written: bytes) -> None:
    """Two stages in the right order are a bundle; the same two the other way round are none."""
    document = msgspec.json.decode(written)
    first = document["stages"][0]
    document["stages"] = [first | {"outputs": ["middle"]}, first | {"name": "last", "inputs": ["middle"]}]
    assert len(decode_manifest(msgspec.json.encode(document)).stages) == 2
    document["stages"].reverse()
    with pytest.raises(BundleError, match=r"stage 'last' needs \['middle'\]"):
        decode_manifest(msgspec.json.encode(document))


def cascade(written: bytes, *outputs: dict[str, Any], when: dict[str, Any]) -> bytes:
    """The stage and output of ``written``, and a second stage under a condition that makes ``more``."""
    document = msgspec.json.decode(written)
    first, output = document["stages"][0], document["outputs"][0]
    document["stages"].append(first | {"name": "second", "outputs": ["more"], "when": when})
    document["outputs"] = [
        output | {"tensor": output["tensor"] | {"name": name}} | more for one in outputs for name, more in one.items()
    ]
    return msgspec.json.encode(document)


WHEN = {"edge": "scores", "index": 9, "at_least": 0.5}


def test_a_stage_under_a_condition_is_a_bundle_if_there_is_always_an_answer(written: bytes) -> None:
    both = decode_manifest(cascade(written, {"scores": {}, "more": {}}, when=WHEN))
    assert both.stages[1].when is not None and both.stages[1].when.below is None
    assert decode_manifest(encode_manifest(both)) == both
    assert (
        decode_manifest(cascade(written, {"more": {"otherwise": "scores"}}, when=WHEN)).outputs[0].otherwise == "scores"
    )
    with pytest.raises(BundleError, match="no output is always made"):
        decode_manifest(cascade(written, {"more": {}}, when=WHEN))


@pytest.mark.parametrize("bound", ["1e999", "-1e999"])
def test_a_bound_that_no_number_reaches_is_refused(written: bytes, bound: str) -> None:
    data = cascade(written, {"scores": {}}, when=WHEN | {"at_least": "BOUND"}).replace(b'"BOUND"', bound.encode())
    with pytest.raises(BundleError, match="not valid: Number out of range"):
        decode_manifest(data)


def test_a_condition_on_an_element_that_is_not_there_is_refused(written: bytes) -> None:
    with pytest.raises(BundleError, match="element 10 of 'scores', which has 10, counted from 0"):
        decode_manifest(cascade(written, {"scores": {}}, when=WHEN | {"index": 10}))


def test_outputs_that_stand_in_for_each_other_are_refused(written: bytes) -> None:
    circle = {"scores": {"otherwise": "more"}, "more": {"otherwise": "scores"}}
    with pytest.raises(BundleError, match="scores → more → scores"):
        decode_manifest(cascade(written, circle, when=WHEN))


def test_an_output_may_be_named_once(written: bytes) -> None:
    with pytest.raises(BundleError, match="an output twice: scores, scores"):
        decode_manifest(cascade(written, {"scores": {}}, {"scores": {}}, when=WHEN))


def test_a_name_is_that_of_one_stage(written: bytes) -> None:
    twice = msgspec.json.decode(cascade(written, {"scores": {}}, when=WHEN))
    twice["stages"][1]["name"] = twice["stages"][0]["name"]
    with pytest.raises(BundleError, match="two stages are called 'classify'"):
        decode_manifest(msgspec.json.encode(twice))


def test_one_blob_with_two_sizes_is_refused_and_with_one_size_shared(written: bytes) -> None:
    manifest = decode_manifest(written)
    shared = changed(changed(written, "golden.blob", manifest.stages[0].blob), "golden.size", manifest.stages[0].size)
    assert decode_manifest(shared).blobs() == {manifest.stages[0].blob: manifest.stages[0].size}
    with pytest.raises(BundleError, match="one blob two sizes"):
        decode_manifest(changed(shared, "golden.size", manifest.stages[0].size + 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema": "1"}',
        b'{"schema": 1}',
        b'{"schema":1,"x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="not valid"):
        decode_manifest(data)


def test_a_manifest_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(BundleError, match="at most"):
        decode_manifest(b" " * (MAX_MANIFEST_BYTES + 1))


def test_what_an_output_is_has_to_fit_its_values_and_labels(written: bytes) -> None:
    second = changed(written, "schema", 2)
    with pytest.raises(BundleError, match="is binary: that is one value"):
        decode_manifest(changed(second, "outputs.0.postprocess", {"kind": "classification", "binary": True}))
    several = changed(second, "outputs.0.postprocess", {"kind": "multilabel", "threshold": 0.25})
    assert decode_manifest(several).outputs[0].postprocess == Multilabel(threshold=0.25)
    with pytest.raises(BundleError, match="two labels of one name"):
        decode_manifest(changed(several, "outputs.0.labels", ["same"] * 10))


def test_blobs_are_those_of_stages_and_golden_samples(written: bytes) -> None:
    manifest: Manifest = decode_manifest(written)
    assert manifest.blobs() == {
        manifest.stages[0].blob: manifest.stages[0].size,
        manifest.golden.blob: manifest.golden.size,
    }
