"""Peer (b): the obvious script with aiomqtt.

python -m bench.peers.obvious_aiomqtt --port 1883 --model cnn.tflite
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import aiomqtt

from bench.load import IN_PREFIX, OUT_PREFIX
from bench.peers.classifier import Classifier
from bench.peers.obvious import MAX_INFLIGHT, NODELAY


async def serve(port: int, classifier: Classifier, qos: int) -> None:
    """Answer one message after the other, for ever."""
    options: Any = {"max_inflight_messages": MAX_INFLIGHT, "socket_options": [(*NODELAY, 1)]} if qos else {}
    async with aiomqtt.Client("127.0.0.1", port, **options) as client:
        await client.subscribe(f"{IN_PREFIX}/+", qos)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            request_id = message.topic.value.rsplit("/", 1)[1]
            await client.publish(f"{OUT_PREFIX}/{request_id}", classifier.answer(request_id, message.payload), qos)


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.obvious_aiomqtt")
    parser.add_argument("--port", type=int, required=True, help="the broker's port on 127.0.0.1")
    parser.add_argument("--model", required=True, help="the .tflite file")
    parser.add_argument("--qos", type=int, choices=(0, 1), default=0)
    options = parser.parse_args()
    asyncio.run(serve(options.port, Classifier(options.model), options.qos))


if __name__ == "__main__":
    main()
