"""The MQTT load generator: a closed loop with a fixed number of requests outstanding.

    python -m bench.load --port 1883 --window 64 --seconds 5

asks on ``<in-prefix>/<id>``, awaits the answer on ``<out-prefix>/<id>``, asks the next, and prints a
``ledger.Measured`` as JSON. It is a process of its own, and per message it does little: packets are encoded
ahead but for id and packet identifier, answers are split off a whole receive buffer at once, and what they
free is asked anew in one send.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import cycle

import msgspec

from bench import wire
from bench.ledger import ID_LENGTH, PAYLOAD_SIZE, Ledger, Measured, payloads

IN_PREFIX, OUT_PREFIX = "maas/bench/cnn/in", "maas/bench/cnn/out"
_PATIENCE_S = 0.25  # the longest wait for an answer before looking at the clock
_DRAIN_S = 10.0  # how long the last outstanding requests may still be answered
_LINGER_S = 0.2  # how long to listen for duplicates after the last answer


class ClosedLoop:
    """Requests and answers over one connection, with exactly-once bookkeeping.

    Args:
        connection: connected, and subscribed to the answers.
        in_prefix: topic to ask on, without the id.
        qos: of the requests, 0 or 1.
    """

    def __init__(self, connection: wire.Connection, in_prefix: str, qos: int) -> None:
        self._connection = connection
        self._ledger = Ledger()
        self._payloads = payloads()
        # Packet identifiers are free again long before 65,535 more requests have been asked [2.3.1].
        self._packet_ids = cycle([n.to_bytes(2, "big") for n in range(1, 1 << 16)] if qos else [b""])
        variable = ID_LENGTH + 2 * qos + PAYLOAD_SIZE
        topic = in_prefix.encode() + b"/" + b"#" * ID_LENGTH
        self._head = wire.publish(topic, bytes(PAYLOAD_SIZE), b"\x00\x01" if qos else b"")[:-variable]
        self._acks: list[bytes] = []
        self._unacknowledged = 0
        self._qos = qos

    def run(self, window: int, warmup_s: float, seconds: float) -> Measured:
        """Keep ``window`` requests outstanding, ``warmup_s`` seconds unmeasured and ``seconds`` measured."""
        self._ask(window)
        self._exchange(warmup_s)
        self._ledger.begin()
        self._exchange(seconds)
        wall_s, cpu_s, latencies_ns = self._ledger.end()
        self._drain()
        return self._ledger.close(window, wall_s, cpu_s, latencies_ns)

    def _exchange(self, seconds: float) -> None:
        """Ask a request for every answer until the time is up; what is outstanding then stays so."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._ask(self._take(_PATIENCE_S))

    def _drain(self) -> None:
        """Await the last answers, then listen a moment longer for what should not come."""
        deadline = time.monotonic() + _DRAIN_S
        while (self._ledger.outstanding or self._unacknowledged) and time.monotonic() < deadline:
            self._take(_PATIENCE_S)
            self._ask(0)
        deadline = time.monotonic() + _LINGER_S
        while time.monotonic() < deadline:
            self._take(_LINGER_S)
            self._ask(0)
        if self._unacknowledged:
            raise wire.WireError(f"the broker did not acknowledge {self._unacknowledged} requests")

    def _ask(self, requests: int) -> None:
        """Send so many requests, and the acknowledgements due, in one go."""
        packets, now_ns = self._acks, time.perf_counter_ns()
        for _ in range(requests):
            request_id = self._ledger.issue(now_ns)
            packets += (self._head, request_id, next(self._packet_ids), next(self._payloads))
        self._unacknowledged += requests * self._qos
        if packets:
            self._connection.send(b"".join(packets))
        self._acks = []

    def _take(self, timeout_s: float) -> int:
        """Enter what has come, and return how many requests it settled."""
        packets = self._connection.receive(timeout_s)
        settled, now_ns = 0, time.perf_counter_ns()
        for header, body in packets:
            if header & 0xF0 == wire.PUBLISH:
                topic, packet_id, answer = wire.published(header, body)
                settled += self._ledger.settle(topic[topic.rfind(b"/") + 1 :], answer, now_ns)
                if packet_id:
                    self._acks.append(wire.puback(packet_id))
            elif header == wire.PUBACK:
                self._unacknowledged -= 1
        return settled


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="MQTT load generator")
    parser.add_argument("--port", type=int, required=True, help="the broker's port on 127.0.0.1")
    parser.add_argument("--in-prefix", default=IN_PREFIX, help="topic to ask on, without the id")
    parser.add_argument("--out-prefix", default=OUT_PREFIX, help="topic of the answers, without the id")
    parser.add_argument("--qos", type=int, choices=(0, 1), default=0)
    parser.add_argument("--window", type=int, default=64, help="requests outstanding (default 64)")
    parser.add_argument("--warmup", type=float, default=1.0, metavar="S", help="unmeasured seconds before")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds")
    return parser.parse_args()


def main() -> int:
    """Run once against what serves on the topics, and print what was measured."""
    options = _arguments()
    connection = wire.Connection(options.port, "load", f"{options.out_prefix}/#", options.qos)
    loop = ClosedLoop(connection, options.in_prefix, options.qos)
    measured = loop.run(options.window, options.warmup, options.seconds)
    connection.close()
    print(msgspec.json.encode(measured).decode())
    return 0 if measured.exact else 1


if __name__ == "__main__":
    sys.exit(main())
