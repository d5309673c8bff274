"""A Mosquitto with the project's own rules of access, and people and programs that have an account on it."""

import getpass
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.system.brokers import Mosquitto, free_port
from tests.system.console import WAIT_S, Message

EXAMPLE = Path(__file__).parents[2] / "examples" / "mosquitto"
_DENIED = 0x87
"""Not authorized: MQTT 5.0 section 3.4.2.1."""


class GuardedMosquitto(Mosquitto):
    """It runs ``examples/mosquitto`` as it is, but for ports and paths; everybody's password is his name."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        super().__init__(folder)
        self.people_port = free_port()
        ports = {
            "listener 1883": f"listener {self.port} 127.0.0.1",
            "listener 1884": f"listener {self.people_port} 127.0.0.1",
        }
        settings = (EXAMPLE / "maas.conf").read_text()
        for there, here in {"/etc/mosquitto": str(folder), **ports}.items():
            assert there in settings
            settings = settings.replace(there, here)
        # Started by root it would become somebody who cannot read this folder.
        self._config.write_text(f"user {getpass.getuser()}\n{settings}")
        shutil.copy(EXAMPLE / "maas.acl", folder)
        passwords = folder / "maas.passwd"
        passwords.write_text("".join(f"{name}:{name}\n" for name in names))
        passwords.chmod(0o600)
        subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)


class Visitor:
    """An MQTT 5 client with an account; keeps what arrives, and what the broker says to what it does."""

    def __init__(self, name: str, port: int, client_id: str = "", will: str = "", password: str | None = None) -> None:
        self.name, self.messages = name, list[Message]()
        self.ended = threading.Event()
        self._news = threading.Condition()
        self._said: dict[int, Any] = {}
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
        )
        client.username_pw_set(name, name if password is None else password)
        if will:
            client.will_set(will, b"{}", 1, True)
        client.on_message = self._on_message
        client.on_connect = lambda _c, _d, _f, reason, _p: self._say(0, reason)
        client.on_publish = lambda _c, _d, number, reason, _p: self._say(number, reason)
        client.on_subscribe = lambda _c, _d, number, reasons, _p: self._say(number, reasons[0])
        client.on_disconnect = lambda *_: self.ended.set()
        client.connect("127.0.0.1", port)
        client.loop_start()
        self.admitted = not self._answer(0).is_failure

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def die(self) -> None:
        """Without a word: the broker publishes the will."""
        self._client.loop_stop()
        self._client.socket().close()

    def may_publish(self, topic: str, payload: bytes | str = b"{}", *, retain: bool = False, answer: str = "") -> bool:
        """Publish; whether the broker took it."""
        properties = None
        if answer:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic = answer
        sent = self._client.publish(topic, payload, 1, retain, properties)
        reason = self._answer(sent.mid).value
        assert reason < 0x80 or reason == _DENIED, reason
        return bool(reason < 0x80)

    def subscribe(self, topic: str) -> None:
        """Ask for a topic. Mosquitto grants everything, and holds back what may not be read."""
        self._answer(self._client.subscribe(topic, 1)[1])

    def wait(self, topic: str, where: Callable[[dict[str, Any]], object] = lambda _: True) -> Message:
        """The newest message on a topic that ``where`` holds for; waits for one if there is none yet."""
        found: list[Message] = []

        def look() -> bool:
            found[:] = [m for m in self.messages if m.topic == topic and m.payload and where(m.document)][-1:]
            return bool(found)

        with self._news:
            assert self._news.wait_for(look, WAIT_S), f"{self.name} gets no such message on {topic}"
        return found[0]

    def _answer(self, number: int) -> Any:
        with self._news:
            assert self._news.wait_for(lambda: number in self._said, WAIT_S), "the broker says nothing"
            return self._said.pop(number)

    def _say(self, number: int, reason: Any) -> None:
        with self._news:
            self._said[number] = reason
            self._news.notify_all()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._news:
            self.messages.append(Message(message))
            self._news.notify_all()
