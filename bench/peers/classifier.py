"""The inference of the script that everyone writes first, shared by its two MQTT clients (a) and (b)."""

from __future__ import annotations

import json
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class Classifier:
    """An int8 image classifier on one thread, with XNNPACK (LiteRT's default), its details looked up once."""

    def __init__(self, model: str) -> None:
        self._interpreter = Interpreter(model_path=model, num_threads=1)
        self._interpreter.allocate_tensors()
        taken, given = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        self._input, self._shape = taken["index"], taken["shape"]
        self._scale, self._zero_point = taken["quantization"]
        self._output = given["index"]
        self._out_scale, self._out_zero_point = given["quantization"]

    def answer(self, request_id: str, payload: bytes) -> str:
        """Return the JSON answer to an image of 784 uint8."""
        started = time.perf_counter()
        image = np.frombuffer(payload, np.uint8).astype(np.float32).reshape(self._shape) / 255.0
        quantized = np.clip(np.round(image / self._scale) + self._zero_point, -128, 127).astype(np.int8)
        self._interpreter.set_tensor(self._input, quantized)
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._output)[0]
        scores = (raw.astype(np.float32) - self._out_zero_point) * self._out_scale
        top = [[int(i), float(scores[i])] for i in np.argsort(scores)[::-1][:3]]
        elapsed_ms = round((time.perf_counter() - started) * 1000, 3)
        return json.dumps(
            {"id": request_id, "label": top[0][0], "score": top[0][1], "top": top, "latency_ms": elapsed_ms}
        )
