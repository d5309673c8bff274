"""External TFLite delegates: a vendor's shared library, loaded by its path (Coral, Arm NN, VX, Hexagon …).

The interface is that of ``tflite_plugin_create_delegate`` (tensorflow/lite/delegates/external); options go through as
they are, as text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maas_agent.errors import RuntimeFailure, UnavailableError
from maas_agent.runtime import library
from maas_agent.runtime.cpu import InterpreterModel
from maas_agent.runtime.interface import Model, Share
from maas_agent.runtime.native import one_line, quiet
from maas_agent.runtime.setup import DELEGATE, Library

_DELEGATE_OP = "DELEGATE"


class DelegateAccelerator:
    """Runs models through the delegate at a path; see `maas_agent.runtime.interface.Accelerator`."""

    def __init__(self, path: str, options: Mapping[str, str], wanted: Library = "auto") -> None:
        self.name = DELEGATE + path
        self._path, self._options, self._library = path, dict(options), wanted

    def runtime(self) -> str:
        """The interpreter library that is used, and its version."""
        return library.version_of(self._library)

    def load(self, path: Path, threads: int) -> Model:
        """Load ``path``; the delegate takes what it can, the processor with ``threads`` threads the rest.

        Raises `UnavailableError` if the delegate cannot be loaded or made (no such file, no such device), and
        `RuntimeFailure` if it refuses the model or takes none of its ops.
        """
        module = library.interpreter_module(self._library)
        delegate = self._loaded(module)
        try:
            with quiet():
                interpreter = module.Interpreter(
                    model_path=str(path), num_threads=threads, experimental_delegates=[delegate]
                )
                # Before the tensors are allocated: then XNNPACK takes what is left, and looks the same.
                share = share_of(interpreter._get_ops_details())
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError, TypeError) as error:
            raise RuntimeFailure(f"{self._path} refuses the model: {one_line(str(error))}") from None
        if not share.accelerated:
            raise RuntimeFailure(f"{self._path} takes none of the model's {share.ops} ops")
        return InterpreterModel(interpreter, share)

    def _loaded(self, module: Any) -> Any:
        if "/" in self._path and not Path(self._path).exists():
            raise UnavailableError(f"there is no {self._path}: install the delegate, or mend pipeline.accelerator")
        try:
            with quiet():
                return module.load_delegate(self._path, self._options)
        except AttributeError:
            raise UnavailableError(
                f"{self._path} is no TFLite delegate: it has no tflite_plugin_create_delegate"
            ) from None
        except OSError as error:
            raise UnavailableError(f"{self._path} cannot be loaded: {error}") from None
        except (ValueError, RuntimeError) as error:
            said = str(error).partition("\n")[2].strip()
            raise UnavailableError(f"{self._path} has no device to use: {said or 'it does not say why'}") from None


def share_of(ops: list[dict[str, Any]]) -> Share:
    """How many of a graph's ops delegates have taken.

    ``ops`` are those of the interpreter: the ones that were taken are still listed, beside the delegate's own that
    stands for them. They are found from its outputs back to its inputs.
    """
    original = [op for op in ops if op["op_name"] != _DELEGATE_OP]
    maker = {int(tensor): number for number, op in enumerate(original) for tensor in op["outputs"]}
    taken: set[int] = set()
    for delegate in (op for op in ops if op["op_name"] == _DELEGATE_OP):
        given = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            number = maker.get(waiting.pop())
            if number is not None and number not in taken:
                taken.add(number)
                waiting += [int(tensor) for tensor in original[number]["inputs"] if int(tensor) not in given]
    return Share(len(taken), len(original))
