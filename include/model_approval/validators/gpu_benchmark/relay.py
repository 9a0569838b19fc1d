"""The one way out of a benchmark: bytes from a Unix socket to the one server that the policy names, and back.

    python -I -m model_approval.validators.gpu_benchmark.relay JSON

The measuring program is confined without any internet socket, and stays so. The relay reads no artifact and looks into
no byte that it passes on; it resolves the name once, then gives up every file and every port but the server's.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import socket
import ssl
import sys
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from model_approval.domain.base import Record
from model_approval.domain.errors import EvidenceError
from model_approval.validators.confinement import Reach, confine
from model_approval.validators.contract import Bounds, plain_line
from model_approval.validators.gpu_benchmark.extra_parameters import is_forbidden_address
from model_approval.validators.port_lock import connect_only_to

log = logging.getLogger(__name__)

_BLOCK = 256 * 1024
_CONNECT_S = 10.0
_BOUNDS = Bounds(memory_bytes=1024**3, file_bytes=1024**2, open_files=4096, tcp_sockets=True)


class RelayOrder(Record):
    """Where to listen, and whom to pass it on to."""

    url: str
    socket: str


@dataclass(frozen=True)
class Upstream:
    """The server, resolved."""

    host: str
    addresses: tuple[tuple[socket.AddressFamily, tuple[str, int]], ...]
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> Upstream:
        """Resolve the name, once and for all.

        Raises:
            EvidenceError: There is no such host, or its name leads to an address that no benchmark has business at.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as err:
            raise EvidenceError(f"{host} cannot be resolved: {err}") from err
        addresses = [(family, (str(address[0]), port)) for family, _, _, _, address in found]
        for _, (address, _) in addresses:
            if is_forbidden_address(address):
                raise EvidenceError(f"{host} leads to {address}, a link-local or metadata address; it is not reached")
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        return cls(host, tuple(addresses), tls)

    @property
    def port(self) -> int:
        """The one port."""
        return self.addresses[0][1][1]

    def connect(self) -> socket.socket:
        """A new connection, certificate checked. Raises OSError when no address answers."""
        error: OSError = ConnectionRefusedError("no address")
        for family, address in self.addresses:
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(_CONNECT_S)
                connection.connect(address)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                secured = self.tls.wrap_socket(connection, server_hostname=self.host) if self.tls else connection
                secured.settimeout(None)
            except OSError as err:
                connection.close()
                error = err
            else:
                return secured
        raise error


def serve(listener: socket.socket, upstream: Upstream) -> None:
    """Pass every connection on, each in a thread of its own, until the listener is shut down."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_relay, args=(client, upstream), daemon=True).start()


def _relay(client: socket.socket, upstream: Upstream) -> None:
    with client:
        try:
            server = upstream.connect()
        except OSError as err:  # certificates that do not hold are among them
            log.error("%s cannot be reached: %s", upstream.host, err)
            return
        with server, contextlib.suppress(OSError):
            _pump(client, server)


def _pump(client: socket.socket, server: socket.socket) -> None:
    """Pass bytes on until either side ends: HTTP knows no half-closed connections.

    In one thread, since OpenSSL takes no two threads in one connection.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, client)
        while True:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                if not _pass_on(key.fileobj, key.data):
                    return


def _pass_on(source: socket.socket, target: socket.socket) -> bool:
    """Pass on what has come; false when the source has ended."""
    while block := source.recv(_BLOCK):
        target.sendall(block)
        # Decrypted bytes lie in the library, where no selector sees them.
        if not (isinstance(source, ssl.SSLSocket) and source.pending()):
            return True
    return False


def main() -> int:
    """The program: tells what confines it once it listens; ends when its standard input does."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    order = RelayOrder.model_validate_json(sys.argv[1])
    try:
        upstream = Upstream.of(order.url)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(order.socket)
        listener.listen(128)
    except (EvidenceError, OSError) as err:
        log.error("%s", plain_line(str(err)))
        return 1
    state = confine(_BOUNDS, Reach(readable=(), writable=()), cpu_s=None)
    state["confinement.ports"] = connect_only_to(upstream.port)
    for lock, found in state.items():
        log.info("%s %s", lock, found)
    threading.Thread(target=serve, args=(listener, upstream), daemon=True).start()
    os.write(1, json.dumps(state).encode() + b"\n")
    while os.read(0, 1):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
