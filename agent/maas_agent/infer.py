"""``maas-agent infer``: a bundle's answers for files, by the very code that serves."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from maas_agent.bundle.archive import open_bundle
from maas_agent.errors import NoInputError
from maas_agent.ipc import Request
from maas_agent.runtime.graph import Graph
from maas_agent.runtime.selection import accelerator
from maas_agent.worker.engine import Engine


def infer(bundle: Path, files: list[str], accelerator_name: str, *, as_json: bool) -> int:
    """Print one answer a file; returns 0, or 65 if a file could not be answered."""
    with tempfile.TemporaryDirectory(prefix="maas-infer-") as folder, open_bundle(bundle) as opened:
        for digest in opened.manifest.blobs():
            (Path(folder) / digest).write_bytes(opened.blob(digest))
        graph = Graph(opened.manifest, lambda digest: Path(folder) / digest, accelerator(accelerator_name))
        graph.warm()
        engine = Engine(graph, device="-", pipeline="-", form=None)
        answers = [_answer(engine, name) for name in files]
    if as_json:
        print(json.dumps([{"file": name, **answer} for name, answer in zip(files, answers, strict=True)], indent=2))
    else:
        for name, answer in zip(files, answers, strict=True):
            print(f"{name}: {_readable(answer)}")
    return 65 if any("error" in answer for answer in answers) else 0


def _answer(engine: Engine, name: str) -> dict[str, Any]:
    payload = _read(name)
    request = Request(1, name, payload, None, arrived=time.time(), arrived_at=time.monotonic())
    document: dict[str, Any] = json.loads(engine.answer(request).document)
    if "outputs" in document:
        return {"response": document}
    return {key: document[key] for key in ("model", "version", "latency_ms", "result", "error") if key in document}


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise NoInputError(f"cannot read {name}: {error.strerror}") from None


def _readable(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return f"error: {answer['error']['message']} ({answer['error']['code']})"
    if "response" in answer:
        return json.dumps(answer["response"])
    results = answer["result"] if isinstance(answer["result"], list) else [answer["result"]]
    shown = [f"{r['label']} ({r['score']:.3f})" if "label" in r else json.dumps(r) for r in results]
    return f"{', '.join(shown)}  in {answer['latency_ms']:.2f} ms"
