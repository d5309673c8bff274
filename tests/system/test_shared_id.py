"""Two agents that were given one id: told loudly, not fought over, and either serves when the other has gone."""

import json
import time
from pathlib import Path

import pytest

from tests.system.brokers import Mosquitto
from tests.system.console import Console
from tests.system.device import Device, wait_until

LONGEST_S = 0.6


def agent(folder: Path, broker: Mosquitto, protocol: str) -> Device:
    keys = f'reconnect_max_s = {LONGEST_S}\nprotocol = "{protocol}"'
    return Device(folder, broker.url, "", device_id="twin", broker=keys)


def connections(broker: Mosquitto) -> int:
    return broker.log().count(" as maas-twin ")


def status(device: Device, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    from maas_agent.commands.status import show_status

    show_status(device.config, as_json=True)
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_agents_with_one_id_say_so_and_do_not_fight(
    tmp_path: Path, broker: Mosquitto, console: Console, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    one, other = agent(tmp_path / "one", broker, protocol), agent(tmp_path / "other", broker, protocol)
    try:
        one.start()
        console.wait("maas/twin/status", lambda status: status["status"] == "online")
        other.start()
        for device in (one, other):
            wait_until(lambda log=device.log: "error   hub: no connection" in log(), "it is not told")  # type: ignore[misc]
            (told,) = [line for line in device.log().splitlines() if "client id maas-twin" in line]
            assert "device.id" in told
        (alarm,) = status(one, capsys)["alarms"]
        assert (alarm["severity"], alarm["code"]) == ("warning", "connection") and "maas-twin" in alarm["text"]

        # From now on neither comes back before half of the longest wait has passed.
        before, begun = connections(broker), time.monotonic()
        wait_until(lambda: connections(broker) >= before + 6, "nobody comes back")
        passed_s = time.monotonic() - begun
        assert 2 * (passed_s / (LONGEST_S / 2) + 1) >= 6
        lines = one.log().count("\n")
        assert lines < 3 * connections(broker)

        assert one.stop() == 0
        wait_until(lambda: status(other, capsys)["connected"], "the other one does not serve")
        console.wait("maas/twin/status", lambda status: status["status"] == "online")
        before = connections(broker)
        console.publish("maas/twin/cmd/update/1", '{"status": "init"}', retain=True)
        console.wait("maas/twin/cmd/update/1", lambda document: document["status"] == "successful")
        assert connections(broker) - before <= 1
    finally:
        one.close()
        other.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_restart_and_a_failover_are_no_conflict(
    tmp_path: Path, broker: Mosquitto, console: Console, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    """Killed, the first one's connection may still be there for the broker; the second one takes over at once."""
    for name in ("one", "other", "third"):
        device = agent(tmp_path / name, broker, protocol)
        try:
            console.forget()
            device.start()
            console.wait("maas/twin/status", lambda status: status["status"] == "online")
            assert not [each for each in status(device, capsys)["alarms"] if each["code"] == "connection"]
        finally:
            device.kill()
        assert "error" not in device.log()
