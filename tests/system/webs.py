"""WebSockets in front of a broker: Debian's Mosquitto may be built without them.

The server is the ``websockets`` library, an implementation of RFC 6455 that is not ours. It pings often, and hangs up
on whoever does not answer.
"""

import asyncio
import ssl
import threading
from concurrent.futures import Future

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.system.brokers import free_port


class Web:
    """Takes WebSockets for MQTT on ``port``, at any path, and connects each to the broker on ``broker_port``."""

    def __init__(self, broker_port: int, context: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self._broker_port, self._context = broker_port, context
        self.paths: list[str] = []
        self._ready: Future[asyncio.Event] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        self._ended = self._ready.result(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)
        self._loop.close()

    async def _run(self) -> None:
        ended = asyncio.Event()
        server: Server = await serve(
            self._pass_on,
            "127.0.0.1",
            self.port,
            ssl=self._context,
            subprotocols=[Subprotocol("mqtt")],
            ping_interval=0.2,
            ping_timeout=2,
            max_size=None,
        )
        self._ready.set_result(ended)
        await ended.wait()
        server.close()
        await server.wait_closed()

    async def _pass_on(self, web: ServerConnection) -> None:
        assert web.request is not None
        self.paths.append(web.request.path)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._broker_port)

        async def from_broker() -> None:
            while data := await reader.read(1 << 16):
                await web.send(data)
            await web.close()

        answers = asyncio.create_task(from_broker())
        try:
            async for message in web:
                assert isinstance(message, bytes)
                writer.write(message)
                await writer.drain()
        except (ConnectionClosed, ConnectionError):
            pass
        finally:
            answers.cancel()
            writer.close()
