"""One connection of the model server: how long a client may take, and what it is told when it takes longer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from model_approval.validators.server_answer import Answer, json_answer
from model_approval.validators.server_connection import Connection, Timeouts
from model_approval.validators.server_head import Head
from tests.support.model_servers import read_answer, request

pytestmark = pytest.mark.contract

_QUICK = Timeouts(idle_s=0.2, head_s=0.3, body_s=0.3, answer_s=0.3)
_PATIENT = Timeouts(idle_s=30, head_s=30, body_s=30, answer_s=30)


class _Echo:
    """Answers with the body; `/large` with sixteen megabytes, `/broken` not at all."""

    max_body_bytes = 100_000
    headers = b"X-Promised: yes\r\n"

    def route(self, head: Head):
        def answer(head: Head, body: memoryview) -> Answer:
            if head.path == "/broken":
                raise RuntimeError("a bug of ours")
            if head.path == "/large":
                return Answer(parts=[b"x" * 2**20] * 16, length=2**24)
            return json_answer({"bytes": len(body)})

        return answer


@pytest.fixture
def connect() -> Iterator[Callable[[Timeouts], socket.socket]]:
    """Makes connections to an echo, each in a thread of its own; all have to end."""
    threads, clients = [], []

    def make(timeouts: Timeouts) -> socket.socket:
        client, server = socket.socketpair()
        client.settimeout(20)
        thread = threading.Thread(target=Connection(server, _Echo(), timeouts).serve)
        thread.start()
        threads.append(thread)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def _drip(client: socket.socket, data: bytes) -> None:
    """Send a byte every 20 ms until the server has had enough."""
    stop = threading.Event()
    try:
        for byte in data:
            client.send(bytes([byte]))
            stop.wait(0.02)
    except OSError:
        pass  # it has


def test_a_connection_without_a_request_ends_without_a_word(connect) -> None:
    assert connect(_QUICK).recv(10) == b""


def test_a_head_that_stops_halfway_is_told_so(connect) -> None:
    client = connect(_QUICK)
    client.sendall(b"GET / HT")
    answer = read_answer(client)
    assert (answer.status, answer.headers["x-promised"]) == (408, "yes")


def test_a_head_that_drips_has_to_arrive_in_time_all_the_same(connect) -> None:
    client = connect(_QUICK)
    _drip(client, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 40)
    assert read_answer(client).status == 408


@pytest.mark.parametrize("coding", ["Content-Length: 60000", "Transfer-Encoding: chunked"])
def test_a_body_that_stops_halfway_or_drips_is_told_so(connect, coding: str) -> None:
    head = f"POST / HTTP/1.1\r\n{coding}\r\n\r\n".encode()
    stopped = connect(_QUICK)
    stopped.sendall(head + b"ea60\r\nabc")
    assert read_answer(stopped).status == 408
    dripping = connect(_QUICK)
    dripping.sendall(head)
    _drip(dripping, b"ea60\r\n" + b"a" * 200)
    assert read_answer(dripping).status == 408


def test_a_client_that_does_not_read_its_answer_loses_the_connection(connect) -> None:
    client = connect(_QUICK)
    client.sendall(request("GET", "/large"))
    received = client.recv(100, socket.MSG_PEEK)
    assert received.startswith(b"HTTP/1.1 200")
    # The fixture's end shows that the thread gave up.


def test_an_answer_larger_than_the_sockets_buffer_arrives_whole(connect) -> None:
    client = connect(_PATIENT)
    client.sendall(request("GET", "/large"))
    assert read_answer(client).body == b"x" * 2**24


def test_a_bug_of_ours_is_an_error_500_and_the_connection_goes_on(connect, caplog) -> None:
    client = connect(_PATIENT)
    client.sendall(request("GET", "/broken"))
    assert read_answer(client).status == 500
    assert "a bug of ours" in caplog.text
    client.sendall(request("POST", "/", b"abc"))
    assert read_answer(client).document == {"bytes": 3}


def test_an_old_client_that_does_not_ask_to_stay_is_let_go(connect) -> None:
    client = connect(_PATIENT)
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert read_answer(client).headers["connection"] == "close"
    assert client.recv(10) == b""


def test_bodies_of_growing_and_shrinking_length_share_one_connection(connect) -> None:
    client = connect(_PATIENT)
    for length in (0, 1, 99_999, 5, 65_537, 0, 100_000):
        client.sendall(request("POST", "/", b"a" * length))
        assert read_answer(client).document == {"bytes": length}
