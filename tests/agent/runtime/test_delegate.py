"""External delegates: a real one, compiled here, on the interpreter that the tests run with."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from maas_agent.runtime.delegate import share_of
from maas_agent.runtime.interface import Share
from tests.agent.runtime.conftest import Loaded
from tests.delegates import build_delegate
from tests.models import tiny_classifier_tflite
from tests.runtimes import RUNTIME

INPUTS = np.random.default_rng(0).random((3, 64)).tolist()
MODEL = tiny_classifier_tflite()


@pytest.fixture(scope="module")
def delegate(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"delegate:{build_delegate(tmp_path_factory.mktemp('delegate'))}"


def test_it_takes_what_it_can_the_processor_does_the_rest_and_the_share_says_so(loaded: Loaded, delegate: str) -> None:
    done, cpu = loaded(MODEL, delegate, INPUTS, behaviour="works"), loaded(MODEL, "cpu", INPUTS)
    assert done.error == "" and done.share == (1, 2)
    np.testing.assert_allclose(done.outputs, cpu.outputs, atol=1e-5)
    assert done.tensors == cpu.tensors
    assert RUNTIME == "auto" or done.runtime.startswith(RUNTIME)


def test_what_it_really_computes_is_what_comes_out(loaded: Loaded, delegate: str) -> None:
    assert loaded(MODEL, delegate, INPUTS[:1], behaviour="wrong").outputs == [[1.0] * 10]


def test_one_that_crashes_takes_its_process_along_and_is_well_again_afterwards(
    loaded: Loaded, delegate: str, tmp_path: Path
) -> None:
    """What the tests of workers build on: it crashes for as long as a file is there."""
    trigger = tmp_path / "crash"
    bad = {"behaviour": "crashes", "while": str(trigger)}
    trigger.touch()
    with pytest.raises(AssertionError, match="status -11"):
        loaded(MODEL, delegate, INPUTS[:1], **bad)
    trigger.unlink()
    assert len(loaded(MODEL, delegate, INPUTS[:1], **bad).outputs) == 1


def test_one_that_hangs_answers_nothing_and_ends_with_its_process(loaded: Loaded, delegate: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        loaded(MODEL, delegate, INPUTS[:1], seconds=5, behaviour="hangs")


def test_one_that_takes_nothing_would_be_the_processor_by_another_name(loaded: Loaded, delegate: str) -> None:
    done = loaded(MODEL, delegate, [], behaviour="takes-nothing")
    assert done.kind == "RuntimeFailure" and done.error.endswith("takes none of the model's 2 ops")


def test_one_that_refuses_the_model_is_quoted(loaded: Loaded, delegate: str) -> None:
    done = loaded(MODEL, delegate, [], behaviour="fails-to-prepare")
    assert done.kind == "RuntimeFailure" and "test delegate: the device does not answer" in done.error


def test_one_without_its_device_is_quoted(loaded: Loaded, delegate: str) -> None:
    done = loaded(MODEL, delegate, [], behaviour="cannot-be-made")
    assert done.kind == "UnavailableError"
    assert done.error.endswith("has no device to use: test delegate: no such device is plugged in")


def test_options_go_through_as_they_are(loaded: Loaded, delegate: str) -> None:
    done = loaded(MODEL, delegate, [], colour="blue")
    assert done.kind == "UnavailableError" and done.error.endswith("test delegate: unknown option")


def test_a_file_that_is_not_there_is_named_with_what_to_do(loaded: Loaded) -> None:
    done = loaded(MODEL, "delegate:/none/lib.so", [])
    assert (done.kind, done.error) == (
        "UnavailableError",
        "there is no /none/lib.so: install the delegate, or mend pipeline.accelerator",
    )


def test_a_library_that_is_no_delegate_says_so(loaded: Loaded) -> None:
    done = loaded(MODEL, "delegate:libm.so.6", [])
    assert done.kind == "UnavailableError" and "it has no tflite_plugin_create_delegate" in done.error


def test_a_file_that_is_no_library_says_so(loaded: Loaded, tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    path.write_text("no library")
    done = loaded(MODEL, f"delegate:{path}", [])
    assert done.kind == "UnavailableError" and "cannot be loaded" in done.error


def op(name: str, inputs: list[int], outputs: list[int]) -> dict[str, object]:
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


def test_the_ops_between_a_delegates_outputs_and_its_inputs_are_the_ones_it_took() -> None:
    chain = [op("A", [0], [1]), op("B", [1, 9], [2]), op("C", [2], [3]), op("D", [3], [4])]
    assert share_of(chain) == Share(0, 4)
    assert share_of([*chain, op("DELEGATE", [1], [3])]) == Share(2, 4)
    assert share_of([*chain, op("DELEGATE", [0], [1]), op("DELEGATE", [3], [4])]) == Share(2, 4)
    diamond = [op("A", [0], [1]), op("B", [1], [2]), op("C", [1], [3]), op("D", [2, 3], [4])]
    assert share_of([*diamond, op("DELEGATE", [0], [4])]) == Share(4, 4)
