"""Load on a server that streams text: so many requests under way at any time, each timed piece by piece.

One thread waits on all connections at once, so that the moment a piece arrives is not blurred by threads that wait for
each other. LoadGen is not used here: it has no scenario of constant concurrency, which is how such servers are sized,
and its token times are the first and the last alone.
"""

from __future__ import annotations

import json
import random
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.extra_parameters import LlmParameters
from model_approval.validators.gpu_benchmark.streaming import StreamedAnswer

_BLOCK = 256 * 1024
_TICK_S = 0.5
_TEXT = """the model reads a report about rivers and cities where people trade grain for tools while weather turns
and ships wait in a harbour for news of prices from far markets before they sail again"""


@dataclass
class Exchange:
    """One request and its streamed answer."""

    sent_ns: int
    answer: StreamedAnswer = field(default_factory=StreamedAnswer)
    ended_ns: int = 0
    problem: str = ""
    """Why it does not count; empty: it does."""


@dataclass(frozen=True)
class Load:
    """All exchanges of a run."""

    exchanges: tuple[Exchange, ...]
    elapsed_s: float


def prompts(wanted: LlmParameters, seed: int) -> Iterator[str]:
    """Made-up prompts, each different from its first word on, so that no server answers from a cache of prefixes."""
    generator, words = random.Random(seed), _TEXT.split()  # noqa: S311  # no secret
    number = 0
    while True:
        number += 1
        first = f"{number}-{generator.randrange(10**6)}"
        yield " ".join([first, *generator.choices(words, k=wanted.prompt_words - 1)])


def render_request(endpoint: Endpoint, wanted: LlmParameters, prompt: str) -> bytes:
    """The bytes of one request."""
    if wanted.api == "generate_stream":
        parameters = {"max_tokens": wanted.output_tokens, "stream": True}
        document: dict[str, object] = {"text_input": prompt, "parameters": parameters}
        path = f"/v2/models/{endpoint.model}/generate_stream"
    else:
        asked = {"messages": [{"role": "user", "content": prompt}]} if wanted.api == "chat" else {"prompt": prompt}
        document = {
            "model": endpoint.model, **asked, "max_tokens": wanted.output_tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        path = "/v1/chat/completions" if wanted.api == "chat" else "/v1/completions"
        if wanted.ignore_eos:
            document["ignore_eos"] = True
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Connection": "close"}
    return endpoint.render("POST", path, json.dumps(document).encode(), headers)


def run_load(endpoint: Endpoint, wanted: LlmParameters, *, seed: int) -> Load:
    """Send all requests, never more at a time than wanted.

    Raises:
        EvidenceError: No request could be sent at all.
    """
    texts = prompts(wanted, seed)
    requests = [render_request(endpoint, wanted, next(texts)) for _ in range(wanted.requests)]
    runner = _Runner(endpoint, requests, wanted.timeout_s)
    begin = time.perf_counter()
    runner.run(wanted.concurrency)
    return Load(tuple(runner.exchanges), time.perf_counter() - begin)


class _Runner:
    def __init__(self, endpoint: Endpoint, requests: list[bytes], timeout_s: float) -> None:
        self.exchanges: list[Exchange] = []
        self._endpoint, self._waiting, self._timeout_ns = endpoint, requests[::-1], int(timeout_s * 1e9)
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, Exchange] = {}

    def run(self, concurrency: int) -> None:
        with self._selector:
            while self._waiting or self._open:
                while self._waiting and len(self._open) < concurrency:
                    self._begin(self._waiting.pop())
                for key, _ in self._selector.select(_TICK_S):
                    assert isinstance(key.fileobj, socket.socket)
                    self._receive(key.fileobj)
                self._give_up()

    def _begin(self, request: bytes) -> None:
        """Connect before the clock starts: a client of a busy server keeps its connections."""
        connection = self._endpoint.open()
        exchange = Exchange(time.perf_counter_ns())
        self.exchanges.append(exchange)
        try:
            connection.sendall(request)
        except OSError as err:
            exchange.problem = f"the request could not be sent: {err}"
            connection.close()
            return
        self._open[connection] = exchange
        self._selector.register(connection, selectors.EVENT_READ)

    def _receive(self, connection: socket.socket) -> None:
        exchange = self._open[connection]
        try:
            block = connection.recv(_BLOCK)
            now = time.perf_counter_ns()
            exchange.answer.feed(block, now)
        except (OSError, EvidenceError) as err:
            self._end(connection, str(err))
            return
        if exchange.answer.finished or not block:
            exchange.ended_ns = now
            self._end(connection, _problem(exchange.answer))

    def _give_up(self) -> None:
        now = time.perf_counter_ns()
        for connection, exchange in list(self._open.items()):
            if now - exchange.sent_ns > self._timeout_ns:
                self._end(connection, f"no end of the answer within {self._timeout_ns / 1e9:g} s")

    def _end(self, connection: socket.socket, problem: str) -> None:
        self._open.pop(connection).problem = problem
        self._selector.unregister(connection)
        connection.close()


def _problem(answer: StreamedAnswer) -> str:
    if answer.status != 200:
        return f"answered {answer.status or 'nothing'}: {answer.error}" if answer.status else "closed without an answer"
    if answer.error:
        return f"an error in the stream: {answer.error}"
    if not answer.finished:
        return "the stream broke off before its end"
    return "" if answer.pieces_ns else "the answer holds no text"
