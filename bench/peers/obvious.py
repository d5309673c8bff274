"""Peer (a), the obvious script: one process, paho callback -> invoke -> publish.

python -m bench.peers.obvious --port 1883 --model cnn.tflite
"""

from __future__ import annotations

import argparse
import socket
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from bench.load import IN_PREFIX, OUT_PREFIX
from bench.peers.classifier import Classifier

MAX_INFLIGHT = 100  # as many unacknowledged answers as the broker is configured for; paho's default is 20
NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)


def _send_at_once(_client: mqtt.Client, _userdata: Any, opened: Any) -> None:
    opened.setsockopt(*NODELAY, 1)


def tune(client: mqtt.Client) -> None:
    """Lift what would hold the script back at QoS 1 without being its design (see README.md)."""
    client.max_inflight_messages_set(MAX_INFLIGHT)
    client.on_socket_open = _send_at_once


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.obvious")
    parser.add_argument("--port", type=int, required=True, help="the broker's port on 127.0.0.1")
    parser.add_argument("--model", required=True, help="the .tflite file")
    parser.add_argument("--qos", type=int, choices=(0, 1), default=0)
    options = parser.parse_args()
    classifier = Classifier(options.model)

    def on_connect(client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"{IN_PREFIX}/+", options.qos)

    def on_message(client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        request_id = message.topic.rsplit("/", 1)[1]
        answer = classifier.answer(request_id, bytes(message.payload))
        client.publish(f"{OUT_PREFIX}/{request_id}", answer, options.qos)

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_connect, client.on_message = on_connect, on_message
    if options.qos:
        tune(client)
    client.connect("127.0.0.1", options.port)
    client.loop_forever()


if __name__ == "__main__":
    main()
