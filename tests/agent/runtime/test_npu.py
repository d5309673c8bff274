"""The NPU: LiteRT's dispatch to OpenVINO, whose code for processors stands in for the device."""

from pathlib import Path

import numpy as np
import pytest

from maas_agent.runtime.npu import accelerated_in
from tests.agent.runtime.conftest import Loaded
from tests.models import flat_classifier_tflite, remembering_tflite, wide_input_tflite

INPUTS = np.random.default_rng(0).random((3, 64)).tolist()


def test_a_model_runs_through_the_vendors_plug_in_and_answers_as_the_processor_does(
    loaded: Loaded, openvino: dict[str, str]
) -> None:
    model = flat_classifier_tflite()
    npu, cpu = loaded(model, "npu", INPUTS, **openvino), loaded(model, "cpu", INPUTS)
    assert npu.error == "" and npu.share == (3, 3)
    np.testing.assert_allclose(npu.outputs, cpu.outputs, atol=0.02)
    assert len(set(map(tuple, npu.outputs))) == len(INPUTS)
    assert npu.tensors == cpu.tensors


def test_a_vendor_that_runs_nothing_is_refused_although_the_library_says_fully_accelerated(
    loaded: Loaded, openvino: dict[str, str]
) -> None:
    """CEIL splits the graph, OpenVINO's second partition goes to an NPU that is not there, and LiteRT takes the CPU."""
    done = loaded(flat_classifier_tflite(op="CEIL"), "npu", [], **openvino)
    assert done.kind == "RuntimeFailure"
    assert done.error.startswith("the NPU (intel_openvino) runs none of the 4 ops: Exception in compilation")


def test_a_model_that_keeps_a_state_is_refused(loaded: Loaded, openvino: dict[str, str]) -> None:
    done = loaded(remembering_tflite(), "npu", [], **openvino)
    assert done.kind == "RuntimeFailure"
    assert done.error == "model.tflite keeps a state in RNN, which only the processor resets"


def test_a_type_that_no_buffer_holds_is_refused_when_the_model_is_loaded(
    loaded: Loaded, openvino: dict[str, str]
) -> None:
    done = loaded(wide_input_tflite(), "npu", [], **openvino)
    assert done.kind == "RuntimeFailure" and "int64" in done.error


def test_a_machine_without_the_device_is_refused_with_what_the_vendor_says(
    loaded: Loaded, openvino: dict[str, str]
) -> None:
    done = loaded(flat_classifier_tflite(), "npu", [], vendor=openvino["vendor"])
    assert done.kind == "RuntimeFailure" and "runs none of the 3 ops" in done.error


def test_a_vendor_whose_libraries_are_elsewhere_needs_their_folders(loaded: Loaded, openvino: dict[str, str]) -> None:
    done = loaded(flat_classifier_tflite(), "npu", [], vendor="qualcomm")
    assert done.kind == "UnavailableError"
    assert done.error.endswith("set pipeline.options dispatch to the folder of the vendor's")


def test_a_folder_without_a_library_is_named(loaded: Loaded, openvino: dict[str, str], tmp_path: Path) -> None:
    done = loaded(flat_classifier_tflite(), "npu", [], **openvino, dispatch=str(tmp_path / "none"))
    assert (done.kind, done.error) == (
        "UnavailableError",
        f"npu option dispatch: there is no library in {tmp_path / 'none'}",
    )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"vendor": "acme"}, "choose one of intel_openvino, qualcomm"),
        ({"vendor": "intel_openvino", "speed": "11"}, "it has vendor, dispatch, compiler, backend, performance_mode"),
        ({"vendor": "intel_openvino", "backend": "tpu"}, "choose one of cpu, gpu, npu"),
        ({"vendor": "mediatek", "backend": "cpu"}, "npu of mediatek has no option 'backend'"),
    ],
)
def test_what_it_does_not_have_is_refused_with_what_it_has(
    loaded: Loaded, openvino: dict[str, str], options: dict[str, str], word: str
) -> None:
    done = loaded(flat_classifier_tflite(), "npu", [], **options)
    assert done.kind == "UsageError" and word in done.error


def test_what_was_taken_counts_only_if_it_was_applied() -> None:
    taken = "Partitioned subgraph<0>, selected 12 ops, from a total of 16 ops. resulted in 2 partitions.\n"
    assert accelerated_in(taken + "INFO: 1 compiler plugins were applied successfully: X") == 12
    assert accelerated_in(taken + "INFO: 0 compiler plugins were applied successfully: ") == 0
    assert accelerated_in("nothing of the kind") == 0
