"""What the agent reads back from its own store, as a power cut, a hand, or a worker that was taken over left it."""

import json
import os
from functools import lru_cache
from typing import Any

import msgspec

from maas_agent.base.log import SilentLog
from maas_agent.bundle.manifest import digest_of
from maas_agent.config import Config, DeviceSettings
from maas_agent.errors import DataError, PullError
from maas_agent.hub.api.announcements import Announcements
from maas_agent.hub.api.commands import Commands
from maas_agent.hub.api.topics import Topics
from maas_agent.hub.api.unfinished_commands import NAME as COMMANDS
from maas_agent.hub.api.unfinished_commands import UnfinishedCommands
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.journal import Journal, JournalDamaged, JournalRow, JournalUnavailable, key_of
from maas_agent.hub.outbox.timeline import Timeline
from maas_agent.hub.takeover import state_store
from maas_agent.hub.takeover.pipeline_state import PipelineState, Slot, UpdateState
from maas_agent.update.store.blob_store import BlobStore
from tests.fuzz.on_bundles import manifests
from tests.fuzz.on_workers import _states, _trials
from tests.fuzz.registry import check_sentence, emptied, target

# ----------------------------------------------------------------- pipelines/NAME.json and what lies beside it

_BESIDE = (".json", ".json.copy", ".json.newer", ".json.damaged", ".json.announced")


def _pipelines() -> list[bytes]:
    """First which of the files it is, then the content."""
    newer = msgspec.to_builtins(_states()[1]) | {"update": {"state": "levitating", "since": 1.0}}
    newer["active"]["trials"] = {"rows": {"of": "another kind"}}
    contents = [*(msgspec.json.encode(state) for state in _states()), json.dumps(newer).encode(), b""]
    return [bytes((at,)) + content for at in range(len(_BESIDE)) for content in contents]


@target(
    "store.pipeline",
    "pipelines/NAME.json, its copy and what else lies beside it",
    _pipelines,
    DataError,
    form="1+json",
    share=0.5,
)
def pipeline(data: bytes) -> None:
    store = emptied("pipeline")
    folder = store / "pipelines"
    folder.mkdir()
    known = PipelineState(active=Slot("1.0.0", "c" * 64, _trials()), previous=Slot("0.9.0", "e" * 64))
    state_store.save(store, "p", known)
    which = _BESIDE[(data[0] if data else 0) % len(_BESIDE)]
    (folder / f"p{which}").write_bytes(data[1:])
    left = state_store.left_behind(store, ())
    assert left is None or all(isinstance(each, str) for each in left)
    state = state_store.load(store, "p", check_sentence)
    if which not in (".json", ".json.copy"):
        assert state.active == known.active, "a file that is neither the state nor its copy has changed what runs"
    # (1) What is in memory goes to the disk and comes back, also over the file of a newer agent.
    state_store.save(store, "p", state)
    again = state_store.load(store, "p", check_sentence)
    assert (again.active, again.previous) == (state.active, state.previous)
    changed = msgspec.structs.replace(again, active=Slot("3.0.0", "3" * 64), update=UpdateState("active", "3.0.0"))
    state_store.save(store, "p", changed)
    assert state_store.load(store, "p", check_sentence).active == changed.active
    # (2) What else reads the folder.
    state_store.is_lost(store, "p", state)
    Announcements(store, ["q"], SilentLog("hub")).cleared("p")
    msgspec.json.encode(msgspec.to_builtins(state))


@target(
    "store.names",
    "names of files in the store's folders, whoever made them",
    lambda: [b"p.json\0q.json.announced\0" + b"a" * 64, b".p.json.1.new\0x.maas\0.p.maas.part", b"a.part\0-\0\xff\n"],
    PullError,
    DataError,
    words=(b"\0", b".json", b".json.announced", b".part", b"..", b"\xff", b"\n", b"a" * 64, b"+", b"#", b"\x1b["),
    share=0.3,
)
def names(data: bytes) -> None:
    store = emptied("names")
    for number, name in enumerate(dict.fromkeys(data.split(b"\0")[:8])):
        if not 0 < len(name) < 200 or b"/" in name or name in (b".", b".."):
            continue
        for folder in ("pipelines", "blobs", "deliveries", "install"):
            path = store / folder / os.fsdecode(name)
            path.parent.mkdir(exist_ok=True)
            match number % 3:
                case 0:
                    path.touch()
                case 1:
                    path.symlink_to("../../outside")
                case _:
                    path.mkdir()
    outside = store.parent / "outside"
    outside.write_bytes(b"kept")
    state_store.left_behind(store, ["p"])
    topics = Topics(Config(device=DeviceSettings(id="d")))
    announced = Announcements(store, ["p"], SilentLog("hub"))
    for name_ in announced.gone:
        check_topic(topics.state(name_))
        announced.cleared(name_)
    BlobStore(store).collect_garbage(set(), None)
    assert outside.read_bytes() == b"kept", "what lies outside of the store was written"


def check_topic(topic: str) -> None:
    """MQTT 5.0 sections 1.5.4, 4.7.1 and 4.7.3: a broker closes the connection over any other."""
    assert not set(topic) & {"+", "#", "\0"} and topic.isprintable(), f"something is said on {topic!r}"
    assert len(topic.encode()) <= 0xFFFF


# ----------------------------------------------------------------- manifests and deliveries


@target(
    "store.blobs",
    "a manifest in blobs/ that its name does not promise, and delivery.json of it",
    lambda: [manifest + b"\n====\n" + b'{"schema": 1, "blobs": {}}' for manifest in manifests()],
    PullError,
    DataError,
    words=(b"\n====\n", b"..", b'"blobs"', b'"size"', b"-1", b"9" * 30),
    share=0.3,
)
def blobs(data: bytes) -> None:
    folder = emptied("blobs")
    store = BlobStore(folder)
    manifest, _, delivery = data.partition(b"\n====\n")
    digest = digest_of(manifest)
    (folder / "blobs").mkdir()
    (folder / "deliveries").mkdir()
    for name in (digest, "a" * 64):
        (folder / "blobs" / name).write_bytes(manifest)
        (folder / "deliveries" / f"{name}.json").write_bytes(delivery)
    for name in (digest, "a" * 64):
        said = store.why_not_whole(name, thorough=True)
        check_sentence(said or "")
        store.drop_damaged(name)
    assert not (folder / "blobs" / ("a" * 64)).exists() or digest == "a" * 64
    store.collect_garbage({digest})


# ----------------------------------------------------------------- commands.json


def _rows() -> list[bytes]:
    document = {"status": "executing", "pipeline": "digits", "more": {"a": [1, 2.5, None]}}
    return [json.dumps([{"name": "update", "id": "1", "document": document}] * count).encode() for count in (1, 3)]


@target("store.commands", "commands.json: what was under way when the agent ended", _rows, form="json", share=0.5)
def commands(data: bytes) -> None:
    store = emptied("commands")
    (store / COMMANDS).write_bytes(data)
    said: list[tuple[str, bytes]] = []

    def publish(command: Any, document: dict[str, Any], _on_safe: object) -> None:
        said.append((f"maas/d/cmd/{command.name}/{command.id}", msgspec.json.encode(document)))

    log = SilentLog("hub")
    unfinished = UnfinishedCommands(store, log)
    Commands({}, publish, unfinished, log).resume()
    for topic, document in said:
        check_topic(topic)
        assert len(document) <= 2 * len(data) + 1000
    unfinished.save()


# ----------------------------------------------------------------- outbox.db-wal


@lru_cache(maxsize=1)
def _outbox() -> tuple[bytes, bytes]:
    """A file and its log, as a process that was killed leaves them."""
    folder = emptied("made")
    journal = Journal(folder / "outbox.db", survives_power_cuts=False)
    journal.open()
    journal.write([JournalRow(key_of(0, at), float(at), 300, Outbound("t", b"payload", 1)) for at in range(1, 4)], [])
    found = (folder / "outbox.db").read_bytes(), (folder / "outbox.db-wal").read_bytes()
    journal.close()
    return found


@target(
    "store.outbox",
    "outbox.db-wal, and the numbers in the rows of outbox.db",
    lambda: [_outbox()[1]],
    JournalDamaged,
    JournalUnavailable,
    words=(b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83", b"payload", b"\x7f" * 8, b"\xff" * 8),
    share=0.1,
)
def outbox(data: bytes) -> None:
    folder = emptied("outbox")
    (folder / "outbox.db").write_bytes(_outbox()[0])
    (folder / "outbox.db-wal").write_bytes(data)
    journal = Journal(folder / "outbox.db", survives_power_cuts=False)
    try:
        totals = journal.open()
        timeline = Timeline()
        timeline.found(totals.readings, totals.last)
        for row in journal.page(0, 1 << 50, 100):
            row.message.topic.encode()
        journal.write([JournalRow(key_of(0, totals.last + 1), 1.0, 1, Outbound("t", b"x"))], [])
    finally:
        journal.close()
