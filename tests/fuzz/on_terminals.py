"""What is printed of what came from outside: no byte of it reaches a terminal unescaped, none makes a line."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import msgspec

from maas_agent.base.log import Log
from maas_agent.base.terminal import Guarded, printable_json, write_document, write_lines
from maas_agent.bundle.manifest import decode_manifest
from maas_agent.checks.finding import CheckResult
from maas_agent.commands import install, status
from maas_agent.commands.infer import _document
from maas_agent.errors import DataError, MaasError, UnavailableError
from maas_agent.hub.api import control_client
from maas_agent.offline.messages import FileAnswered, Mistake
from maas_agent.offline.run import _message
from maas_agent.offline.show import lines as answer_lines
from maas_converter.cli import description as describe
from maas_converter.fleet import deploy, table
from maas_converter.fleet.rollout import progress, rollout_of
from maas_converter.fleet.view import FleetView
from maas_converter.publishing.release import waiting_changes
from tests.fuzz.on_bundles import manifests
from tests.fuzz.on_files import _ROLLOUT, _said
from tests.fuzz.on_updates import _metadata
from tests.fuzz.registry import emptied, scratch, target

EVIL = "\x1b]0;x\x07\x9b2J\u202e\u2066\ufeff\u2028\x85\x7f\r\nforged  online\x0b\ud800"
WORDS = tuple(
    json.dumps(each).encode()[1:-1]
    for each in (EVIL, "\x1b", "\n", "\x9b", "\u202e", "\u2028", "\x85", "\ud800", "\x7f")
)


class _Screen(io.StringIO):
    """What a terminal got; as one with an encoding of its own it takes no surrogate."""

    def write(self, text: str) -> int:
        text.encode()
        return super().write(text)


@contextmanager
def shown() -> Iterator[Callable[[], list[str]]]:
    """Standard output and error behind the guard, as `maas_agent.terminal.guard_streams` puts it there; their lines."""
    screen = _Screen()
    kept = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = Guarded(screen)  # type: ignore[assignment]
    try:
        yield lambda: screen.getvalue().split("\n")[:-1]
    finally:
        sys.stdout, sys.stderr = kept
    text = screen.getvalue()
    assert not text or text.endswith("\n")
    bad = {each for each in text if not each.isprintable() and each != "\n"}
    assert not bad, f"these reach a terminal: {bad}"
    forged = [line for line in text.split("\n") if line.lstrip().startswith("forged")]
    assert not forged, "a line of somebody else's making"


# ----------------------------------------------------------------- the agent's commands


@lru_cache(maxsize=1)
def _statuses() -> list[bytes]:
    from tests.agent.commands.test_status import pipeline
    from tests.agent.commands.test_status import status as of_agent

    tried = {"accelerator": "gpu", "threads": 1, "options": {"a": "b"}, "p50_ms": 1.0, "p99_ms": 1.0}
    tried |= {"peak_bytes": 1 << 20, "deviation": 0.0, "accelerated": 0.5, "refused": "too slow"}
    shadow = {"samples": 1, "wanted": 2, "agreement": 0.5, "latency_ratio": 1.5}
    probation = {"until": "2026", "answers": 1, "errors": 0, "crashes": 0, "waits_for_samples": True}
    update = {"state": "failed", "version": "1.0.0", "reason": "why", "shadow": shadow, "probation": probation}
    rest = {"accelerator": "gpu", "tried_again": "2026", "reason": "it hangs"}
    source = {"state": "failed", "reason": "there is none"}
    candidate = {"version": "2.0.0", "digest": "d" * 64}
    full = pipeline(source=source, update=update, quarantine=[rest], trials=[tried], trouble="x", candidate=candidate)
    alarm = {"severity": "warning", "code": "connection", "text": "two devices", "since": "2026"}
    alarmed = of_agent(pipeline()) | {"alarms": [alarm]}
    return [json.dumps(each).encode() for each in (of_agent(full), alarmed, of_agent())]


@lru_cache(maxsize=1)
def _config() -> Path:
    path = scratch() / "status.toml"
    path.write_text(f'[device]\nid = "d"\n[store]\npath = {json.dumps(str(scratch()))}\n')
    return path


@contextmanager
def _answered(data: bytes) -> Iterator[None]:
    """Somebody listens at the control socket, and says this to everything."""
    ask, control_client.ask = control_client.ask, lambda store, *_: control_client._document(data, store)  # type: ignore[assignment]
    try:
        yield
    finally:
        control_client.ask = ask


@target(
    "shown.status",
    "what answers at the control socket, as `status`, `install` and `rollback` show it",
    _statuses,
    UnavailableError,
    DataError,
    form="json",
    words=WORDS,
)
def statuses(data: bytes) -> None:
    with _answered(data), shown():
        with suppress(UnavailableError, DataError):
            status.show_status(_config(), as_json=True)
        with suppress(UnavailableError, DataError):
            install.roll_back(_config(), "p", "why", as_json=False)
        status.show_status(_config(), as_json=False)


def _answers() -> list[bytes]:
    result = {"label": "a", "score": 0.5, "top": [["a", 0.5], ["b", 0.25]]}
    several = {"labels": [["a", 0.5]], "scores": {"a": 0.5, "b": 0.25}}
    values, both = {"values": [[1.0, 2.0], [3.5, 1e300]]}, {"one": result, "two": {"values": [1.0]}}
    given = FileAnswered(file="x", row=1, given="cat", model="m", version="1.0.0", latency_ms=1.0, result=result)
    wrong = FileAnswered(file="x", error=Mistake("bad_json", "x: it is none"))
    whole = FileAnswered(file="x", response={"parameters": {"result": [result, result]}})
    each = [given, wrong, whole, *(FileAnswered(file="x", result=one) for one in (several, values, both, [result]))]
    return [msgspec.json.encode(one) for one in each]


@target(
    "shown.infer",
    "what the process says that runs a model for `infer`",
    _answers,
    MaasError,
    form="json",
    words=WORDS,
)
def answers(data: bytes) -> None:
    message = _message(data)
    if not isinstance(message, FileAnswered):
        return
    with shown() as seen:
        expected = list(answer_lines([message]))
        write_lines(expected)
        assert len(seen()) == len(expected)
        write_document([_document(message)])


@target(
    "shown.log",
    "an event and its fields, in the journal and on a terminal",
    lambda: [b"\0event\0key\0value", b"\1" + b"a\0" * 9, EVIL.encode("utf-8", "surrogatepass")],
    words=(*(each.encode("utf-8", "surrogatepass") for each in EVIL), b"<0>", b"\n<0>hub: ", b"x" * 5000),
)
def logged(data: bytes) -> None:
    event, *values = data.decode("utf-8", "surrogateescape").split("\0")
    with shown() as seen:
        Log("hub").error(event, **{f"field{at}": value for at, value in enumerate(values[:20])})
        (line,) = seen()
        assert len(line.encode()) < 48 << 10, "journald would cut it, and take the rest for another entry"


@target(
    "shown.findings",
    "what `check` has found, and a document of it",
    lambda: [msgspec.json.encode([CheckResult("broker", False, "no", "type this"), CheckResult("clock", None, "x")])],
    msgspec.DecodeError,
    UnicodeDecodeError,
    RecursionError,
    form="json",
    words=WORDS,
)
def findings(data: bytes) -> None:
    from maas_agent.commands.check import _lines

    found = msgspec.json.decode(data, type=list[CheckResult])
    with shown() as seen:
        expected = [line for finding in found for line in _lines(finding)]
        write_lines(expected)
        assert len(seen()) == len(expected)
        write_document([msgspec.to_builtins(finding) for finding in found])


@target(
    "shown.json",
    "any JSON document, as `--json` prints it",
    lambda: [json.dumps({EVIL: [EVIL, 1.5, None, True, -0.0, 1e308]}).encode()],
    ValueError,
    RecursionError,
    form="json",
    words=WORDS,
)
def documents(data: bytes) -> None:
    document = json.loads(data)
    printed = printable_json(json.dumps(document, indent=2, ensure_ascii=False))
    assert printed.isascii() and all(each.isprintable() or each == "\n" for each in printed)
    assert repr(json.loads(printed)) == repr(document), "what is escaped is not what it was"


# ----------------------------------------------------------------- the converter's commands


@target(
    "shown.inspect",
    "a manifest, as `inspect` shows it",
    manifests,
    DataError,
    form="json",
    words=WORDS,
    share=0.5,
)
def inspected(data: bytes) -> None:
    manifest = decode_manifest(data)
    contents = describe.BundleDescription("x.maas", 1, "d" * 64, True, ("a" * 64, EVIL), manifest)
    with shown() as seen:
        facts = describe.facts(contents)
        write_lines(f"{name:<12}  {value}" for name, value in facts)
        assert len(seen()) == len(facts)
        write_document(describe.document(contents))


@target(
    "shown.fleet",
    "what devices and operators say on the broker, as `fleet` and `deploy` show it",
    _said,
    form="json",
    words=WORDS,
)
def fleet(data: bytes) -> None:
    from maas_agent.bundle.desired_state import DesiredModel

    picture = FleetView("maas")
    for topic in ("maas/d/status", "maas/d/digits/state", "maas/d/metrics", "maas/e\u202e/x/state"):
        picture.hear(topic, data)
    devices = sorted(picture.devices.values(), key=lambda each: each.id)
    with shown() as seen:
        lines = table.lines(devices)
        write_lines(lines)
        assert len(seen()) == len(lines) <= 3 and all(len(line) < 2000 for line in seen())
        write_document([msgspec.to_builtins(each) for each in devices])
        try:
            rollout = rollout_of(msgspec.json.decode(data, type=DesiredModel)) or _ROLLOUT
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rollout = _ROLLOUT
        found = progress(rollout, devices, "digits", 100.0)
        write_lines([deploy.describe(rollout, found), *(deploy.failure(*each) for each in found.failed.items())])
        write_document(msgspec.to_builtins(rollout))


def _pending() -> list[bytes]:
    """A change and the metadata it is made of: targets, with channels, a revocation and a delegation, and a root."""
    found = []
    for document in map(json.loads, _metadata()):
        kind = document["signed"]["_type"]
        if kind in ("targets", "root"):
            change = {"what": "publish digits 1.0.0", "roles": [kind], "made_from": {"root": 1}}
            found.append(json.dumps([change, document]).encode())
    return found


@target(
    "shown.sign",
    "a change that waits in the repository's folder, as `repo sign` shows it",
    _pending,
    MaasError,
    form="json",
    words=(*WORDS, b"../../x", b"targets", b"root"),
    share=0.5,
)
def signed(data: bytes) -> None:
    try:
        change, metadata = json.loads(data)
    except (ValueError, RecursionError, TypeError):
        change, metadata = None, None
    folder = emptied("signing")
    (folder / "pending").mkdir()
    (folder / "pending" / "change.json").write_text(json.dumps(change))
    outside = folder.parent / "outside.json"
    outside.write_text("kept")
    for name in ("targets", "root"):
        (folder / "pending" / f"{name}.json").write_text(json.dumps(metadata))
    with shown() as seen:
        found = waiting_changes(folder)
        write_lines(found)
        assert len(seen()) == len(found)
    assert outside.read_text() == "kept"
