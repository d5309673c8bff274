"""Peer (c): Flask and Keras ``model.predict`` over HTTP.

    python -m bench.peers.flask_keras --port 8080 --model cnn.keras

The float model, since Keras runs no TFLite; Flask's own server with a thread a request, as ``app.run()``
starts it.
"""

from __future__ import annotations

import argparse
import logging
import time
from typing import Any

import keras
import numpy as np
from flask import Flask, request

app = Flask(__name__)


def predict(request_id: str) -> dict[str, Any]:
    """Answer an image of 784 uint8."""
    started = time.perf_counter()
    image = np.frombuffer(request.get_data(), np.uint8).astype(np.float32).reshape(1, 28, 28, 1) / 255.0
    scores = app.config["model"].predict(image, verbose=0)[0]
    top = [[int(i), float(scores[i])] for i in np.argsort(scores)[::-1][:3]]
    elapsed_ms = round((time.perf_counter() - started) * 1000, 3)
    return {"id": request_id, "label": top[0][0], "score": top[0][1], "top": top, "latency_ms": elapsed_ms}


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.flask_keras")
    parser.add_argument("--port", type=int, required=True, help="port to listen on, on 127.0.0.1")
    parser.add_argument("--model", required=True, help="the .keras file")
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a log line a request would only slow it down
    model = keras.saving.load_model(options.model)
    # predict() builds its function on the first call, which is not safe from several threads at once.
    model.predict(np.zeros((1, 28, 28, 1), np.float32), verbose=0)
    app.config["model"] = model
    app.add_url_rule("/predict/<request_id>", view_func=predict, methods=["POST"])
    app.run(host="127.0.0.1", port=options.port, threaded=True)


if __name__ == "__main__":
    main()
