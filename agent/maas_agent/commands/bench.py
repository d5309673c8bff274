"""``maas-agent bench``: what a bundle does on this device, on every accelerator there is: the trial table."""

from pathlib import Path
from typing import Any

from maas_agent.base.terminal import write_document, write_line, write_lines
from maas_agent.bundle.archive import Bundle, open_bundle
from maas_agent.bundle.staged import blob_path
from maas_agent.host.scratch import scratch_folder
from maas_agent.runtime.machine import look
from maas_agent.trials import plan, run, table
from maas_agent.trials.hardware import cores, fingerprint, runtime_version
from maas_agent.trials.record import Trials, document_of
from maas_agent.trials.terms import Terms


def bench(bundle: Path, terms: Terms, *, as_json: bool) -> int:
    """Try the bundle as the self-test does and print the table; returns 0 if something may serve, else 70."""
    with scratch_folder("maas-bench-") as folder, open_bundle(bundle) as opened:
        _stage(opened, Path(folder))
        wanted = plan.setups(terms, look(terms.library), cores(terms.limits.cpus))
        write_line(f"trying {len(wanted)} setups, a few seconds each", error=True)
        verdicts = run.try_all(Path(folder), opened.digest, wanted, terms)
        rows = tuple(verdict.trial for verdict in verdicts)
        trials = Trials(runtime_version(terms.library), fingerprint(terms.library), terms, rows)
        document = _document(opened, trials)
    if as_json:
        write_document(document)
    else:
        write_lines(_readable(document))
    return 0 if document["chosen"] else 70


def _stage(opened: Bundle, store: Path) -> None:
    blobs = {digest: opened.blob(digest) for digest in opened.manifest.blobs()}
    for digest, data in (blobs | {opened.digest: opened.manifest_bytes}).items():
        path = blob_path(store, digest)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


def _document(opened: Bundle, trials: Trials) -> dict[str, Any]:
    best = trials.best()
    return {
        "model": opened.manifest.name,
        "version": opened.manifest.version,
        "digest": opened.digest,
        "runtime": trials.runtime,
        "hardware": trials.hardware,
        "tolerance": opened.manifest.golden.tolerance,
        "chosen": document_of(best) if best else None,
        "trials": [document_of(row) for row in trials.rows],
    }


def _readable(document: dict[str, Any]) -> list[str]:
    chosen = document["chosen"]
    setup = (chosen["accelerator"], chosen["threads"], chosen["options"]) if chosen else None
    head = f"{document['model']} {document['version']} on {document['runtime'] or 'no interpreter'}"
    tolerance = f"golden samples: a deviation of {document['tolerance']:.3g} is allowed"
    end = "* is what a device chooses" if chosen else "nothing may serve this bundle here"
    return [head, *table.lines(document["trials"], setup), f"{tolerance}; {end}"]
