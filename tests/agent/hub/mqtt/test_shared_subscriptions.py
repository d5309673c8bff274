"""Whether shared subscriptions work; with real brokers that is in tests/system/test_brokers.py."""

from collections.abc import Iterator

import pytest

from maas_agent.hub.mqtt import shared_subscriptions as sharing_module
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.mqtt.shared_subscriptions import SharedSubscriptions
from maas_agent.hub.system.loop import Loop
from tests.agent.hub.doubles import Lines


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def patience_ends(loop: Loop) -> None:
    loop.after(2 * sharing_module._PATIENCE_S, loop.stop)
    loop.run()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing_module, "_PATIENCE_S", 0.02)


def test_a_message_that_does_not_come_back_is_said_once_and_that_it_does_again_too(loop: Loop) -> None:
    log, sent = Lines(), list[Outbound]()
    sharing = SharedSubscriptions(loop, "maas/dev/shared", ("line",), log)
    for _ in range(2):
        sharing.ask(sent.append)
        patience_ends(loop)
    assert [level for level, _ in log.told] == ["error"]
    sharing.ask(sent.append)
    sharing.received(sent[-1].payload)
    patience_ends(loop)
    assert [level for level, _ in log.told] == ["error", "info"]
    sharing.ask(sent.append)
    patience_ends(loop)
    assert [level for level, _ in log.told] == ["error", "info", "error"]
    assert {(message.topic, message.qos, message.retain) for message in sent} == {("maas/dev/shared", 0, False)}


def test_only_the_message_of_this_connection_is_an_answer(loop: Loop) -> None:
    log, sent = Lines(), list[Outbound]()
    sharing = SharedSubscriptions(loop, "maas/dev/shared", ("line",), log)
    sharing.ask(sent.append)
    sharing.ask(sent.append)
    sharing.received(sent[0].payload)
    sharing.received(b"")
    patience_ends(loop)
    assert [level for level, _ in log.told] == ["error"]


def test_a_connection_that_ends_first_proves_nothing(loop: Loop) -> None:
    log, sent = Lines(), list[Outbound]()
    sharing = SharedSubscriptions(loop, "maas/dev/shared", ("line",), log)
    sharing.ask(sent.append)
    sharing.forget()
    patience_ends(loop)
    assert log.told == []


def test_a_device_without_groups_asks_nothing(loop: Loop) -> None:
    log, sent = Lines(), list[Outbound]()
    SharedSubscriptions(loop, "maas/dev/shared", (), log).ask(sent.append)
    patience_ends(loop)
    assert (sent, log.told) == ([], [])
