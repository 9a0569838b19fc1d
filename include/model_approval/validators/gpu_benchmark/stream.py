"""Requests to one model, one after the other or with several under way, over kept connections."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Protocol, TypeVar

from model_approval.validators.gpu_benchmark.endpoint import Endpoint, Prepared

ItemT = TypeVar("ItemT")


class Together(Protocol):
    """Puts client and server on one processor for a while."""

    def together(self, choice: float) -> AbstractContextManager[None]:
        """Until the end of the block under `with`; `choice`, from 0 up to 1, decides which processor."""
        ...


class Stream:
    """The measuring side of one model (`interleave.Asked`, and what LoadGen's scenarios ask through)."""

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        prepared: Sequence[Prepared],
        *,
        in_flight: int,
        placement: Together | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            name: `candidate`, `champion`.
            endpoint: A connection to the model's server; more are made from it.
            prepared: Different requests, asked in turn: one alone would live in the processor's cache.
            in_flight: How many requests are under way at a time where throughput is measured.
            placement: The server's threads, where they can be moved.
        """
        self.name, self.prepared = name, tuple(prepared)
        self.endpoint = endpoint
        self._pool = [endpoint, *(endpoint.another() for _ in range(in_flight - 1))]
        self._turn, self._placement = 0, placement

    def again(self, name: str) -> Stream:
        """Another stream to the same server, with connections of its own."""
        return self.to(name, self.endpoint.another(), self._placement)

    def to(self, name: str, endpoint: Endpoint, placement: Together | None) -> Stream:
        """The same requests to another server of the same model."""
        return Stream(name, endpoint, self.prepared, in_flight=len(self._pool), placement=placement)

    def start(self, choice: float) -> None:
        """Ask once without counting, client and server on the processor that `choice` (0 up to 1) decides."""
        with self._placement.together(choice) if self._placement else nullcontext():
            self.endpoint.time(self._next())

    def block(self, queries: int) -> list[float]:
        """Ask one after the other; milliseconds each. Raises EvidenceError when the model fails on a request."""
        return [self.endpoint.time(self._next()) / 1e6 for _ in range(queries)]

    def burst(self, queries: int) -> float:
        """Ask with the next ones always waiting, so that the model is never idle; requests per second."""
        start = time.perf_counter()
        self.pipeline(range(queries), lambda item: self._next(), lambda item: None)
        return queries / (time.perf_counter() - start)

    def pipeline(
        self, items: Iterable[ItemT], request: Callable[[ItemT], Prepared], done: Callable[[ItemT], None]
    ) -> None:
        """Ask for each item, as many under way as there are connections; answers are taken in the order of asking.

        Args:
            items: What is asked for.
            request: Gives the request of an item.
            done: Called when the item's answer is there.

        Raises:
            EvidenceError: The model fails on a request. No item is under way then.
        """
        rest, under_way = iter(items), deque[tuple[Endpoint, ItemT]]()
        try:
            for endpoint, item in zip(self._pool, islice(rest, len(self._pool)), strict=False):
                endpoint.begin(request(item))
                under_way.append((endpoint, item))
            while under_way:
                endpoint, item = under_way.popleft()
                endpoint.finish()
                for following in islice(rest, 1):
                    endpoint.begin(request(following))
                    under_way.append((endpoint, following))
                done(item)
        finally:
            for endpoint, _ in under_way:  # after an error: an answer that nobody takes would be the next one's
                endpoint.close()

    def close(self) -> None:
        """End the connections."""
        for endpoint in self._pool:
            endpoint.close()

    def _next(self) -> Prepared:
        self._turn += 1
        return self.prepared[self._turn % len(self.prepared)]
