"""The CPU: LiteRT's interpreter with XNNPACK, or that of ``tflite-runtime``."""

from pathlib import Path
from typing import Any

from maas_agent.errors import RuntimeFailure
from maas_agent.runtime import library
from maas_agent.runtime.interface import Array, Model, Share
from maas_agent.runtime.native import one_line, quiet
from maas_agent.runtime.setup import Library
from maas_agent.runtime.tensors import tensor_of


class InterpreterModel:
    """A model in the interpreter; see `maas_agent.runtime.interface.Model`."""

    def __init__(self, interpreter: Any, share: Share | None = None) -> None:
        self._interpreter = interpreter
        self.share = share
        input_details = interpreter.get_input_details()
        output_details = interpreter.get_output_details()
        self.inputs = tuple(tensor_of(detail) for detail in input_details)
        self.outputs = tuple(tensor_of(detail) for detail in output_details)
        self._input_indexes = [detail["index"] for detail in input_details]
        self._output_indexes = [detail["index"] for detail in output_details]

    def run(self, inputs: list[Array]) -> list[Array]:
        """Run one inference; raises `RuntimeFailure` if a tensor does not fit or an op fails."""
        try:
            for index, values in zip(self._input_indexes, inputs, strict=True):
                self._interpreter.set_tensor(index, values)
            # The state of TFLite's own LSTM, RNN and SVDF ops lasts from run to run; each sample begins anew.
            self._interpreter.reset_all_variables()
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._output_indexes]
        except (ValueError, RuntimeError) as error:
            raise RuntimeFailure(f"inference failed: {one_line(str(error))}") from None


class CpuAccelerator:
    """Runs models on the processor; see `maas_agent.runtime.interface.Accelerator`."""

    name = "cpu"

    def __init__(self, wanted: Library = "auto") -> None:
        self._library = wanted

    def runtime(self) -> str:
        """The interpreter library that is used, and its version."""
        return library.version_of(self._library)

    def load(self, path: Path, threads: int) -> Model:
        """Load ``path`` with ``threads`` threads and allocate its tensors; raises ``MemoryError`` if that fails."""
        module = library.interpreter_module(self._library)
        try:
            with quiet():
                interpreter = module.Interpreter(model_path=str(path), num_threads=threads)
                interpreter.allocate_tensors()
            return InterpreterModel(interpreter)
        except (ValueError, RuntimeError, TypeError) as error:
            reason = one_line(str(error))
            if not reason:
                raise MemoryError from None  # it says nothing where it could not allocate its tensors
            raise RuntimeFailure(f"{path.name} cannot be loaded: {reason}") from None
