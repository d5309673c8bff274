"""The GPU: LiteRT's CompiledModel on SwiftShader, a Vulkan device made of software."""

import numpy as np
import pytest

from tests.agent.runtime.conftest import Loaded
from tests.models import flat_classifier_tflite, remembering_tflite, tiny_classifier_tflite, wide_input_tflite

INPUTS = np.random.default_rng(0).random((3, 64)).tolist()


def test_a_model_that_the_gpu_has_all_ops_of_is_fully_accelerated_and_answers_as_the_processor_does(
    loaded: Loaded, swiftshader: dict[str, str]
) -> None:
    model = flat_classifier_tflite()
    gpu, cpu = loaded(model, "gpu", INPUTS, swiftshader), loaded(model, "cpu", INPUTS)
    assert gpu.error == "" and gpu.share == (3, 3) and cpu.share is None
    assert gpu.runtime.startswith("ai-edge-litert ")
    np.testing.assert_allclose(gpu.outputs, cpu.outputs, atol=1e-3)
    assert len(set(map(tuple, gpu.outputs))) == len(INPUTS)
    assert gpu.tensors == cpu.tensors


def test_ops_that_the_gpu_lacks_run_on_the_processor_and_the_share_says_so(
    loaded: Loaded, swiftshader: dict[str, str]
) -> None:
    model = flat_classifier_tflite(op="LOG_SOFTMAX")
    gpu, cpu = loaded(model, "gpu", INPUTS, swiftshader), loaded(model, "cpu", INPUTS)
    assert gpu.share is not None and 0 < gpu.share[0] < gpu.share[1] == 4
    np.testing.assert_allclose(gpu.outputs, cpu.outputs, atol=1e-3)


def test_32_bits_are_closer_to_the_processor_or_as_close(loaded: Loaded, swiftshader: dict[str, str]) -> None:
    model = flat_classifier_tflite(seed=3)
    cpu = np.array(loaded(model, "cpu", INPUTS).outputs)
    off = {
        precision: np.abs(np.array(loaded(model, "gpu", INPUTS, swiftshader, precision=precision).outputs) - cpu).max()
        for precision in ("f16", "f32")
    }
    assert off["f32"] <= off["f16"] + 1e-6


def test_nothing_that_the_library_says_while_it_succeeds_reaches_the_log(
    loaded: Loaded, swiftshader: dict[str, str]
) -> None:
    assert loaded(flat_classifier_tflite(), "gpu", INPUTS, swiftshader).logged == ""


def test_without_a_gpu_it_is_refused_with_the_reason(loaded: Loaded, swiftshader: dict[str, str]) -> None:
    none = {"VK_ICD_FILENAMES": "/none.json", "VK_DRIVER_FILES": "/none.json"}
    done = loaded(flat_classifier_tflite(), "gpu", [], none)
    assert done.kind == "RuntimeFailure"
    assert "Failed to initialize WebGPU environment" in done.error or "No adapters" in done.error


def test_a_file_that_is_no_model_is_refused(loaded: Loaded, swiftshader: dict[str, str]) -> None:
    done = loaded(b"TFL3 it is not", "gpu", [], swiftshader)
    assert (done.kind, done.error[: len("model.tflite cannot be")]) == ("RuntimeFailure", "model.tflite cannot be")


def test_a_quantized_model_keeps_scale_and_zero_point(loaded: Loaded, swiftshader: dict[str, str]) -> None:
    model = tiny_classifier_tflite(dtype="int8")
    gpu, cpu = loaded(model, "gpu", [], swiftshader), loaded(model, "cpu", [])
    assert gpu.tensors == cpu.tensors and gpu.tensors[0]["quantization"]["zero_point"] == -128


def test_a_type_that_no_buffer_holds_is_refused_when_the_model_is_loaded(
    loaded: Loaded, swiftshader: dict[str, str]
) -> None:
    assert loaded(wide_input_tflite(), "cpu", [[0.0] * 10]).outputs == [pytest.approx([0.1] * 10)]
    done = loaded(wide_input_tflite(), "gpu", [], swiftshader)
    assert done.kind == "RuntimeFailure" and "int64" in done.error


def test_a_model_that_keeps_a_state_is_refused_and_the_processor_resets_it(
    loaded: Loaded, swiftshader: dict[str, str]
) -> None:
    first, second, _ = INPUTS
    one, _, again = loaded(remembering_tflite(), "cpu", [first, second, first]).outputs
    assert one == again
    done = loaded(remembering_tflite(), "gpu", [], swiftshader)
    assert done.kind == "RuntimeFailure"
    assert done.error == "model.tflite keeps a state in RNN, which only the processor resets"


@pytest.mark.parametrize(
    ("options", "word"),
    [({"precison": "f32"}, "it has precision"), ({"precision": "f64"}, "choose one of f16, f32")],
)
def test_an_option_it_does_not_have_is_refused_with_those_it_has(
    loaded: Loaded, swiftshader: dict[str, str], options: dict[str, str], word: str
) -> None:
    done = loaded(flat_classifier_tflite(), "gpu", [], swiftshader, **options)
    assert done.kind == "UsageError" and word in done.error
