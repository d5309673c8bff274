"""Turns one payload into one document: decode, preprocess, infer, postprocess. No I/O and no process."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas_agent.base import codes
from maas_agent.base.documents import ErrorDetail, ErrorDocument, ResultDocument, encode, rfc3339
from maas_agent.errors import DecodeError, RuntimeFailure
from maas_agent.ipc import MAX_GIST, Answer, InferenceRequest
from maas_agent.processing.content import Form
from maas_agent.processing.decode import Decoded, decode
from maas_agent.processing.inference import OpenInferenceResponse, ResponseOutput
from maas_agent.processing.postprocess import postprocessor
from maas_agent.processing.preprocess import outside_of
from maas_agent.runtime.graph import Graph

Values = dict[str, NDArray[np.float32]]
"""Outputs of one sample by name, without those whose stage was skipped."""


class Engine:
    """Answers requests with one loaded bundle. Whatever is wrong with an input becomes an error document."""

    def __init__(
        self,
        graph: Graph,
        device: str,
        pipeline: str,
        form: Form | None,
        after_inference: Callable[[], None] = lambda: None,
    ) -> None:
        manifest = graph.manifest
        self._graph = graph
        self._after_inference = after_inference
        self._form = form
        self._decode = manifest.inputs[0].decode
        self._outside = outside_of(manifest.inputs[0])
        self._outputs = [(output.tensor, postprocessor(output)) for output in manifest.outputs]
        self._names = {
            "device": device,
            "pipeline": pipeline,
            "model": manifest.name,
            "version": manifest.version,
        }

    def answer(self, request: InferenceRequest) -> Answer:
        """The document for one request; never raises for what an input or a model did."""
        began = time.monotonic()
        try:
            decoded = decode(request.payload, self._decode, request.content_type, self._form)
            return self._result(request, decoded, [self._infer(sample) for sample in decoded.samples], began)
        except DecodeError as error:
            return self.error(request, error.code, str(error))
        except MemoryError:
            return self.error(request, codes.TOO_LARGE, "there is not enough memory for this input")
        except RuntimeFailure as error:
            return self.error(request, codes.INTERNAL, str(error))

    def error(self, request: InferenceRequest, code: str, message: str) -> Answer:
        """The error document for a request."""
        document = ErrorDocument(
            id=request.id, time=rfc3339(request.arrived), error=ErrorDetail(code, message), **self._names
        )
        return Answer(request.sequence, request.id, encode(document), _elapsed_ms(request), code)

    def _infer(self, sample: NDArray[np.generic]) -> Values:
        values = self._graph.run(sample)
        self._after_inference()
        return values

    def _result(self, request: InferenceRequest, decoded: Decoded, values: list[Values], began: float) -> Answer:
        answers = [self._answer_of(row) for row in values]
        result: Any = answers if decoded.batched else answers[0]
        latency_ms = _elapsed_ms(request)
        document: ResultDocument | OpenInferenceResponse
        if decoded.request is not None:
            document = self._response(decoded.request.id or request.id, values, result)
        else:
            document = ResultDocument(
                id=request.id, time=rfc3339(request.arrived), latency_ms=latency_ms, result=result, **self._names
            )
        return Answer(
            request.sequence,
            request.id,
            encode(document),
            latency_ms,
            None,
            took_ms=(time.monotonic() - began) * 1000,
            gist=self._gist(values[0], answers[0]),
            outside=sum(map(self._outside, decoded.samples)) if self._outside is not None else 0,
        )

    def _gist(self, values: Values, answer: Any) -> str | float | None:
        """The best label of the first output that there is, or all it names; of raw values their mean."""
        name = next((tensor.name for tensor, _ in self._outputs if tensor.name in values), None)
        if name is None:
            return None
        first = answer if len(self._outputs) == 1 else answer[name]
        if "labels" in first:  # in one order, whichever scores best
            return ", ".join(sorted(label for label, _ in first["labels"]))[:MAX_GIST]
        label = first.get("label")
        return str(label)[:MAX_GIST] if label is not None else float(values[name].mean())

    def _answer_of(self, values: Values) -> Any:
        """One sample's answer; of a bundle with several outputs, one answer for each that there is, by name."""
        if len(self._outputs) == 1:
            (tensor, post), *_ = self._outputs
            return post(values[tensor.name])
        return {tensor.name: post(values[tensor.name]) for tensor, post in self._outputs if tensor.name in values}

    def _response(self, request_id: str, values: list[Values], result: Any) -> OpenInferenceResponse:
        # The model's own batch dimension of 1 is replaced by the number of samples. A tensor of a batch cannot lack
        # rows: an output that some sample does not have is in the parameters' result only.
        outputs = tuple(
            ResponseOutput(
                name=tensor.name,
                shape=(len(values), *(tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape)),
                datatype="FP32",
                data=[float(value) for row in values for value in row[tensor.name].reshape(-1)],
            )
            for tensor, _ in self._outputs
            if all(tensor.name in row for row in values)
        )
        names = self._names
        return OpenInferenceResponse(
            model_name=names["model"],
            model_version=names["version"],
            id=request_id,
            outputs=outputs,
            parameters={"device": names["device"], "pipeline": names["pipeline"], "result": result},
        )


def _elapsed_ms(request: InferenceRequest) -> float:
    return round((time.monotonic() - request.arrived_at) * 1000, 3)
