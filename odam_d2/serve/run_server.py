"""Listens, and answers until it is stopped."""

import asyncio
import socket
from collections.abc import Collection
from urllib.parse import quote

import uvicorn

from .app import create_app
from .workbench import Workbench

_PATIENCE = 1  # seconds that what isn't asked of a detector has when the server is stopped


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; what is wrong with it shows before detectors are loaded.

    Raises:
        OSError: if it can't.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket, token: str | None = None) -> str:
    """What to open in a browser."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
    return f"http://{shown}:{port}/" + (f"?token={quote(token, safe='')}" if token else "")


class BenchServer(uvicorn.Server):
    """A server that ends what is asked of detectors before it waits for its connections to be done.

    Args:
        config: of the server.
        bench: what is served.
    """

    def __init__(self, config: uvicorn.Config, bench: Workbench):
        super().__init__(config)
        self._bench = bench

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn, which leaves connections open whose requests it had to cancel."""
        self._bench.queue.stop()
        await super().shutdown(sockets)
        cancelled = list(self.server_state.tasks)
        if cancelled:  # they say so before they end
            await asyncio.wait(cancelled, timeout=0.5)
        for end in ("close", "abort"):  # what is still to be sent is sent, if somebody takes it
            for connection in list(self.server_state.connections):
                getattr(connection.transport, end)()
            await asyncio.sleep(0.02)


def server_of(bench: Workbench, hosts: Collection[str], token: str | None = None) -> uvicorn.Server:
    """The server, not yet running."""
    config = uvicorn.Config(
        create_app(bench, hosts, token),
        # Whatever else is installed: another reader of HTTP has other limits.
        http="h11",
        proxy_headers=False,
        log_level="warning",
        # Addresses would show the token.
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_PATIENCE,
        timeout_keep_alive=30,
        limit_concurrency=512,
        h11_max_incomplete_event_size=64 * 1024,
    )
    return BenchServer(config, bench)


def run_server(bench: Workbench, listener: socket.socket, hosts: Collection[str], token: str | None = None) -> bool:
    """Serves until Ctrl-C.

    Args:
        bench: what is served.
        listener: see :func:`listen`.
        hosts: names by which it may be called.
        token: what a browser must know.

    Returns:
        Whether a detector is still in the midst of some work.
    """
    server = server_of(bench, hosts, token)
    print(f"Open {address_of(listener, token)}\nCtrl-C stops it.", flush=True)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    return not bench.queue.close(0.0)
