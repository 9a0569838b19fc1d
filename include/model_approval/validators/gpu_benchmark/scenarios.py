"""How a query of LoadGen reaches the model: one class for each way in which queries arrive.

LoadGen calls `issue` from its own C++ code, where an exception would end the process: a failure is kept, the queries
are reported as done, slowly, and whoever started the run raises it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_approval.validators import progress
from model_approval.validators.gpu_benchmark.stream import Stream

_AFTER_FAILURE_S = 0.005
"""LoadGen cannot be told to stop; at this pace it runs out of time without writing a long log."""

_TELL_EVERY = 100


class Issuer:
    """Base: sends what LoadGen asks for and tells it when the answer is there.

    Attributes:
        failure: What went wrong first, if anything.
        times: Milliseconds of each query, where one query is one request.
    """

    def __init__(self, stream: Stream, workers: int) -> None:
        import mlperf_loadgen

        self._loadgen, self._stream = mlperf_loadgen, stream
        self.failure: Exception | None = None
        self.times: list[float] = []

    def issue(self, samples: Sequence[Any]) -> None:
        """LoadGen's call: ask for these samples."""
        if self.failure is None:
            try:
                self.ask(samples)
            except Exception as err:  # noqa: BLE001  # an exception would end the process from within C++
                self.failure = err
            else:
                return
        time.sleep(_AFTER_FAILURE_S)
        self.complete(*samples)

    def ask(self, samples: Sequence[Any]) -> None:
        """Ask, and complete each sample. May raise before any is completed twice."""
        raise NotImplementedError

    def complete(self, *samples: Any) -> None:  # noqa: ANN401  # LoadGen ships no types
        """Tell LoadGen that the answers are there."""
        self._loadgen.QuerySamplesComplete([self._loadgen.QuerySampleResponse(one.id, 0, 0) for one in samples])

    def flush(self) -> None:
        """LoadGen's call: no more queries will come. Nothing is held back here."""

    def close(self) -> None:
        """End what the issuer started."""


class OneByOne(Issuer):
    """SingleStream: asked inside LoadGen's own call, so that no thread has to wake up in between."""

    def ask(self, samples: Sequence[Any]) -> None:
        """One request; the clock that counts is LoadGen's, ours is for the table of latencies."""
        for sample in samples:
            self.times.append(self._stream.endpoint.time(self._stream.prepared[sample.index]) / 1e6)
            self.complete(sample)
        if len(self.times) % _TELL_EVERY == 0:
            progress.report(f"{len(self.times):,} queries to the {self._stream.name}, one after the other")


class Pipelined(Issuer):
    """MultiStream and Offline: several under way on the stream's connections."""

    def ask(self, samples: Sequence[Any]) -> None:
        """All samples of the query."""
        prepared, rest = self._stream.prepared, {sample.id: sample for sample in samples}
        try:
            self._stream.pipeline(samples, lambda one: prepared[one.index], lambda one: self._one_done(rest, one))
        except Exception as err:  # noqa: BLE001  # as in `issue`; only what is not yet answered may be completed there
            self.failure = err
            self.complete(*rest.values())

    def _one_done(self, rest: dict[int, Any], sample: Any) -> None:  # noqa: ANN401  # LoadGen ships no types
        del rest[sample.id]
        self.complete(sample)


class Queued(Issuer):
    """Server: queries come when they come; workers with a connection each take them in turn."""

    def __init__(self, stream: Stream, workers: int) -> None:
        super().__init__(stream, workers)
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def ask(self, samples: Sequence[Any]) -> None:
        """Hand over and return at once: LoadGen keeps the schedule in this very thread."""
        for sample in samples:
            self._queue.put((sample.id, sample.index))

    def _work(self) -> None:
        endpoint = self._stream.endpoint.another()
        while (item := self._queue.get()) is not None:
            try:
                if self.failure is None:
                    endpoint.time(self._stream.prepared[item[1]])
            except Exception as err:  # noqa: BLE001  # kept for whoever started the run
                self.failure = err
            self._loadgen.QuerySamplesComplete([self._loadgen.QuerySampleResponse(item[0], 0, 0)])
        endpoint.close()

    def close(self) -> None:
        """End the workers."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()


ISSUERS: Mapping[str, Callable[[Stream, int], Issuer]] = {
    "single_stream": OneByOne,
    "multi_stream": Pipelined,
    "server": Queued,
    "offline": Pipelined,
}
"""By `loadgen.Scenario`."""
