"""The embedded broker of the demo: amqtt speaks MQTT 3.1.1 only, and is silent to a version 5 CONNECT."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.bundles import make_bundle, samples
from tests.ports import free_port
from tests.system.conftest import LOCAL
from tests.system.device import Device, wait_until

BROKER = Path(__file__).parents[2] / "examples" / "digits" / "broker.py"


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, BROKER, str(port)])
    yield port
    process.terminate()
    process.wait(30)


def test_an_agent_that_is_told_nothing_falls_back_to_3_1_1_and_serves(tmp_path: Path, port: int) -> None:
    bundle = make_bundle(tmp_path / "digits.maas")
    device = Device(tmp_path / "dev", f"mqtt://127.0.0.1:{port}", LOCAL.format(bundle=bundle))
    device.start()
    try:
        wait_until(lambda: "mqtt=3.1.1" in device.log(), "it does not fall back")
        wait_until(lambda: "bundle active" in device.log(), "it does not serve")
        answers: list[bytes] = []
        console = paho.Client(CallbackAPIVersion.VERSION2, "console")
        console.on_message = lambda _client, _data, message: answers.append(message.payload)
        console.on_connect = lambda client, *_: client.subscribe("maas/dev/digits/out/#", qos=1)
        console.on_subscribe = lambda client, *_: client.publish("maas/dev/digits/in/x", samples(1)[0].tobytes(), 1)
        console.connect("127.0.0.1", port)
        console.loop_start()
        wait_until(lambda: answers, "no answer")
        console.disconnect()
        console.loop_stop()
        assert b'"result"' in answers[0]
    finally:
        device.close()
