"""The ceiling: answers every request without inference, as cheaply as this broker and Python allow.

    python -m bench.echo --port 1883

What the load generator reaches against it is what broker and generator can do together; a contender that
comes nowhere near it is not held back by them. The answer has the size of a real one.
"""

from __future__ import annotations

import argparse
from itertools import cycle

from bench import wire
from bench.load import IN_PREFIX, OUT_PREFIX

_ANSWER = b'{"id":"%s","label":3,"score":0.109375,"top":[[3,0.109375],[0,0.10546875],[6,0.10546875]],"latency_ms":0.02}'


def serve(connection: wire.Connection, qos: int) -> None:
    """Answer every request on the connection, for ever; a burst of them in one send."""
    packet_ids = cycle([n.to_bytes(2, "big") for n in range(1, 1 << 16)] if qos else [b""])
    out = OUT_PREFIX.encode() + b"/"
    while True:
        packets = []
        for header, body in connection.receive(3600):
            if header & 0xF0 == wire.PUBLISH:
                topic, packet_id, _ = wire.published(header, body)
                request_id = topic[topic.rfind(b"/") + 1 :]
                packets.append(wire.publish(out + request_id, _ANSWER % request_id, next(packet_ids)))
                if packet_id:
                    packets.append(wire.puback(packet_id))
        if packets:
            connection.send(b"".join(packets))


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(prog="python -m bench.echo", description="answers without inference")
    parser.add_argument("--port", type=int, required=True, help="the broker's port on 127.0.0.1")
    parser.add_argument("--qos", type=int, choices=(0, 1), default=0)
    options = parser.parse_args()
    serve(wire.Connection(options.port, "echo", f"{IN_PREFIX}/#", options.qos), options.qos)


if __name__ == "__main__":
    main()
