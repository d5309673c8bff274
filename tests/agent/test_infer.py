"""``maas-agent infer`` for the forms that tests/system/test_startup.py does not try."""

import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from maas_agent.errors import NoInputError, UsageError
from maas_agent.infer import infer
from tests.bundles import make_bundle, samples

SAMPLE = samples(1)[0]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "a.maas", "digits", "1.0.0")


def run(bundle: Path, *files: Path | str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, object]]]:
    status = infer(bundle, [str(file) for file in files], "auto", as_json=True)
    return status, json.loads(capsys.readouterr().out)


def test_every_form_of_one_sample_has_one_answer(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raw").write_bytes(SAMPLE.tobytes())
    (tmp_path / "json").write_text(json.dumps(SAMPLE.tolist()))
    Image.fromarray(SAMPLE.reshape(8, 8)).save(tmp_path / "picture.png")
    status, answers = run(bundle, *(tmp_path / name for name in ("raw", "json", "picture.png")), capsys=capsys)
    assert status == 0
    assert [answer["file"] for answer in answers] == [str(tmp_path / name) for name in ("raw", "json", "picture.png")]
    assert answers[0]["result"] == answers[1]["result"] == answers[2]["result"]
    assert {(answer["model"], answer["version"]) for answer in answers} == {("digits", "1.0.0")}


def test_standard_input_is_a_file_called_minus(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SAMPLE.tobytes())))
    status, answers = run(bundle, "-", capsys=capsys)
    assert status == 0 and "result" in answers[0]


def test_an_open_inference_request_is_answered_in_its_protocol(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensor = {"name": "x", "shape": [1, 8, 8, 1], "datatype": "UINT8", "data": SAMPLE.reshape(-1).tolist()}
    (tmp_path / "request.json").write_text(json.dumps({"id": "7", "inputs": [tensor]}))
    _, (answer,) = run(bundle, tmp_path / "request.json", capsys=capsys)
    assert answer["response"]["id"] == "7"  # type: ignore[index]


def test_for_people_a_batch_is_one_line_with_all_labels(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "batch").write_bytes(samples(3).tobytes())
    assert infer(bundle, [str(tmp_path / "batch")], "cpu", as_json=False) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{tmp_path}/batch: class-") and line.count("class-") == 3 and line.endswith(" ms")


def test_a_missing_file_ends_it_and_a_bad_one_does_not(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").write_bytes(b"x")
    (tmp_path / "good").write_bytes(SAMPLE.tobytes())
    assert infer(bundle, [str(tmp_path / "bad"), str(tmp_path / "good")], "auto", as_json=False) == 65
    bad, good = capsys.readouterr().out.splitlines()
    assert "(wrong_shape)" in bad and "class-" in good
    with pytest.raises(NoInputError, match="No such file"):
        infer(bundle, [str(tmp_path / "none")], "auto", as_json=False)


def test_an_unknown_accelerator_is_refused_with_those_there_are(bundle: Path) -> None:
    with pytest.raises(UsageError, match="choose one of auto, cpu"):
        infer(bundle, ["-"], "warp", as_json=False)
