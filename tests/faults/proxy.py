"""A TCP proxy between the agent and its broker, with the faults of a network; it reads along what passes.

A direction that is stalled is not read from: the sender's window fills up, as if no segment were acknowledged. When one
end closes meanwhile, the other end learns of it only when the stall has ended, after what was on its way.
"""

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Literal

from tests.faults.tap import Record, Tap

Direction = Literal["up", "down"]
UP: Direction = "up"
DOWN: Direction = "down"
BOTH: tuple[Direction, Direction] = (UP, DOWN)
_CHUNK = 1 << 14
_HIGH_WATER = 1 << 16
_PATIENCE_S = 10.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closing sends RST instead of FIN."""


class _Side:
    """One direction of a pair: what was read of ``source`` and is not yet written to ``sink``."""

    def __init__(self, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        self.direction, self.source, self.sink = direction, source, sink
        self.held = bytearray()
        self.ended = self.closed = False
        """``ended``: the source has said that nothing more comes; ``closed``: the sink has been told."""


class _Pair:
    """A connection of the agent and the one to the broker that it stands for."""

    def __init__(self, agent: socket.socket, broker: socket.socket, record: Record) -> None:
        self.agent, self.broker, self.tap = agent, broker, Tap(record)
        self.sides = (_Side(UP, agent, broker), _Side(DOWN, broker, agent))
        self.half_open = False

    def side(self, ending: socket.socket) -> tuple[_Side, _Side]:
        """The direction that ``ending`` is the source of, and the one that it is the sink of."""
        up, down = self.sides
        return (up, down) if ending is self.agent else (down, up)


class Proxy:
    """Listens on ``port`` of ``address``, and connects to ``broker_port``; in a thread of its own.

    Every method that makes a fault returns when it is in force.
    """

    def __init__(self, broker_port: int, address: str = "127.0.0.1") -> None:
        self.record = Record()
        self._broker_port = broker_port
        self._listener = socket.create_server((address, 0))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._pairs: dict[socket.socket, _Pair] = {}
        self._stalled: set[Direction] = set()
        self._holding, self._running = False, True
        self._kicks = 0
        self.accepted = 0
        """Connections of the agent so far."""
        self._bytes_per_s: float | None = None
        self._budget = dict.fromkeys(BOTH, 0.0)
        self._counted_at = time.monotonic()
        self._orders: list[tuple[Callable[[], None], threading.Event]] = []
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------- faults

    def stall(self, *directions: Direction) -> None:
        """Let nothing through in these directions, on present and on new connections."""
        self._order(lambda: self._stalled.update(directions))

    def heal(self) -> None:
        """No fault is in force any more; what was held goes on its way. Half-open connections are reset."""

        def healed() -> None:
            self._stalled.clear()
            self._holding, self._kicks, self._bytes_per_s = False, 0, None
            for pair in self._all():
                if pair.half_open:
                    self._abort(pair)

        self._order(healed)

    def hold(self) -> None:
        """Take no new connection until `heal`: they wait in the kernel, as behind a route that drops SYNs."""
        self._order(lambda: setattr(self, "_holding", True))

    def reset(self) -> None:
        """RST on every connection, to both ends."""
        self._order(lambda: [self._abort(pair) for pair in self._all()] and None)

    def cut(self) -> None:
        """End every connection with FIN to both ends, whatever was on its way."""
        self._order(lambda: [self._end(pair) for pair in self._all()] and None)

    def half_open(self) -> None:
        """The broker's ends are gone, and the agent is not told; new connections pass."""

        def halved() -> None:
            for pair in self._all():
                pair.half_open = True
                pair.sides[1].held.clear()
                self._forget(pair.broker)

        self._order(halved)

    def kick(self, times: int) -> None:
        """Reset this many new connections right after the broker's CONNACK has passed."""
        self._order(lambda: setattr(self, "_kicks", times))

    def throttle(self, bytes_per_s: float) -> None:
        """Let so much through in each direction, all connections together."""
        self._order(lambda: setattr(self, "_bytes_per_s", bytes_per_s))

    @property
    def kicks_left(self) -> int:
        """New connections that are still to be reset."""
        return self._kicks

    @property
    def connections(self) -> int:
        """Connections of the agent that are open, as far as it has been told."""
        return len({id(pair) for pair in self._pairs.values()})

    def close(self) -> None:
        """End the thread and every connection."""
        self._order(lambda: setattr(self, "_running", False))
        self._thread.join()
        for pair in self._all():
            self._end(pair)
        self._selector.close()
        for end in (self._listener, self._wake, self._woken):
            end.close()

    def _order(self, action: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.append((action, done))
        self._wake.send(b"x")
        assert done.wait(_PATIENCE_S), "the proxy's thread is gone"

    # ------------------------------------------------------------- the thread

    def _run(self) -> None:
        while self._running:
            for key, events in self._selector.select(self._watch()):
                if key.fileobj is self._woken:
                    self._woken.recv(_CHUNK)
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    self._serve(key.fileobj, events)  # type: ignore[arg-type]
            while self._orders:
                action, done = self._orders.pop(0)
                action()
                done.set()

    def _watch(self) -> float | None:
        """Ask the kernel for what may happen now; returns after how many seconds to look again in any case."""
        self._earn()
        for end, pair in self._pairs.items():
            out, back = pair.side(end)
            readable = not out.ended and len(out.held) < _HIGH_WATER and self._may_pass(out)
            writable = (bool(back.held) or (back.ended and not back.closed)) and self._may_pass(back)
            self._watch_end(end, selectors.EVENT_READ * readable | selectors.EVENT_WRITE * writable)
        self._watch_end(self._listener, selectors.EVENT_READ * (not self._holding))
        return 0.02 if self._bytes_per_s else None

    def _watch_end(self, end: socket.socket, events: int) -> None:
        known = self._selector.get_map().get(end)
        if known is None:
            if events:
                self._selector.register(end, events)
        elif not events:
            self._selector.unregister(end)
        elif known.events != events:
            self._selector.modify(end, events)

    def _may_pass(self, side: _Side) -> bool:
        return side.direction not in self._stalled and (self._bytes_per_s is None or self._budget[side.direction] >= 1)

    def _earn(self) -> None:
        """Bytes that a slow network may pass now; it does not save them up for longer than a tenth of a second."""
        now = time.monotonic()
        if self._bytes_per_s:
            earned = (now - self._counted_at) * self._bytes_per_s
            for direction, budget in self._budget.items():
                self._budget[direction] = min(budget + earned, max(1.0, self._bytes_per_s / 10))
        self._counted_at = now

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            agent, _ = self._listener.accept()
            self.accepted += 1
            try:
                broker = socket.create_connection(("127.0.0.1", self._broker_port), _PATIENCE_S)
            except OSError:
                _close(agent, reset=True)  # there is no broker: nobody listens
                return
            for end in (agent, broker):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(agent, broker, self.record)
            self._pairs |= {agent: pair, broker: pair}

    def _serve(self, end: socket.socket, events: int) -> None:
        pair = self._pairs.get(end)
        if pair is None:
            return  # it was ended by what came before in this turn
        out, back = pair.side(end)
        try:
            if events & selectors.EVENT_READ:
                self._read(pair, out)
            if events & selectors.EVENT_WRITE and self._pairs.get(end) is pair:
                self._write(back)
        except OSError:  # reset by one end: so it is for the other
            if pair.half_open:
                self._forget(end)
            else:
                self._abort(pair)
            return
        if all(side.closed for side in pair.sides):
            self._end(pair)

    def _read(self, pair: _Pair, side: _Side) -> None:
        data = side.source.recv(_CHUNK)
        if not data:
            side.ended = True
            if pair.half_open:
                self._forget(side.source)
            return
        if pair.half_open:
            return  # it goes nowhere
        side.held += data
        connected = False
        if side.direction == UP:
            pair.tap.up(data)
        else:
            connected = pair.tap.down(data)
        if connected and self._kicks:
            self._kicks -= 1
            with contextlib.suppress(BlockingIOError):
                side.sink.send(side.held)
            self._abort(pair)

    def _write(self, side: _Side) -> None:
        if side.held:
            most = len(side.held) if self._bytes_per_s is None else int(self._budget[side.direction])
            sent = side.sink.send(side.held[:most])
            del side.held[:sent]
            self._budget[side.direction] -= sent
        if side.ended and not side.held:
            side.closed = True
            side.sink.shutdown(socket.SHUT_WR)

    def _all(self) -> list[_Pair]:
        return list({id(pair): pair for pair in self._pairs.values()}.values())

    def _abort(self, pair: _Pair) -> None:
        self._forget(pair.agent, reset=True)
        self._forget(pair.broker, reset=True)

    def _end(self, pair: _Pair) -> None:
        self._forget(pair.agent)
        self._forget(pair.broker)

    def _forget(self, end: socket.socket, *, reset: bool = False) -> None:
        if self._pairs.pop(end, None) is not None:
            self._watch_end(end, 0)
            _close(end, reset=reset)


def _close(end: socket.socket, *, reset: bool) -> None:
    if reset:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    end.close()
