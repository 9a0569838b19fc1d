"""Keeps the local target's model servers as they are wished for.

    python -m model_approval.embedded.serving

Reads `desired/`, writes `observed/` (see `adapters/local_serving/state.py`). A new version starts beside the old one,
and the old one ends only once the new one answers and is written down as the one to ask; a version that does not come
up leaves the old one serving. Servers outlive a killed supervisor, the next one finds them again.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from model_approval.adapters.local_serving import Desired, Observed, ServingNow, ServingState
from model_approval.domain.errors import ModelApprovalError
from model_approval.embedded.server_process import ServerProcess
from model_approval.settings import load_settings

log = logging.getLogger(__name__)

_TICK_S = 0.25
_HEALTH_EVERY_S = 5.0
_FAILURES = 3
_LOCK_S = 2.0
"""A deployer that asks whether we run holds the lock for a moment."""
_LONGEST_PAUSE_S = 30.0


@dataclass
class _Instance:
    server: ServerProcess
    since: float
    ready: bool = False
    asked_at: float = 0.0
    failures: int = 0


@dataclass
class _Attempts:
    """How often a wish was tried, and why it failed."""

    spec_digest: str
    count: int = 0
    not_before: float = 0.0
    error: str = ""


@dataclass
class ServingSupervisor:
    """All servers of one state folder."""

    state: ServingState
    python: Path
    _instances: dict[str, list[_Instance]] = field(default_factory=dict)
    _attempts: dict[str, _Attempts] = field(default_factory=dict)
    _reported: dict[str, Observed] = field(default_factory=dict)

    def run(self, stop: threading.Event) -> None:
        """Supervise until told to stop, then stop every server.

        Raises:
            ModelApprovalError: Another supervisor holds this folder.
        """
        self.state.prepare()
        lock = self.state.lock_supervisor()
        patience = time.monotonic() + _LOCK_S
        while lock is None and time.monotonic() < patience and not stop.wait(0.05):
            lock = self.state.lock_supervisor()
        if lock is None:
            raise ModelApprovalError(f"another supervisor serves {self.state.root}", hint="stop it first")
        with lock:
            self._forget_the_unwanted()
            for server in ServerProcess.find_again(self.state):
                log.info("%s: found process %d again", server.desired.spec.name, server.pid)
                self._instances.setdefault(server.desired.spec.name, []).append(_Instance(server, time.monotonic()))
            while not stop.wait(_TICK_S):
                self.tick()
            self.stop_all()

    def _forget_the_unwanted(self) -> None:
        for path in (self.state.root / "observed").glob("*.json"):
            if path.stem not in self.state.desired_names():
                self.state.forget(path.stem)

    def tick(self) -> None:
        """Look once at every wish and every server, and bring them nearer to each other."""
        for name in sorted({*self.state.desired_names(), *self._instances, *self._reported}):
            try:
                desired = self.state.desired(name)
            except ModelApprovalError as err:
                log.error("%s: %s", name, err)  # what serves goes on serving
                continue
            if desired is None:
                self._end(name)
            else:
                self._tend(name, desired)

    def stop_all(self) -> None:
        """Stop every server; what is wished for stays wished for."""
        for name in list(self._instances):
            self._end(name)

    def _tend(self, name: str, desired: Desired) -> None:
        attempts = self._attempts.get(name)
        if attempts is None or attempts.spec_digest != desired.spec_digest:
            attempts = self._attempts[name] = _Attempts(desired.spec_digest)
        instances = self._instances.setdefault(name, [])
        for instance in list(instances):
            self._examine(instance, instances, attempts)
        wanted = next((item for item in instances if item.server.desired.spec_digest == desired.spec_digest), None)
        if wanted is None and time.monotonic() >= attempts.not_before:
            server = ServerProcess.start(self.state, desired, self.python)
            log.info("%s: starting version %s as process %d", name, desired.spec.version, server.pid)
            instances.append(_Instance(server, time.monotonic()))
        self._report(name, desired, attempts)
        if wanted and wanted.ready:  # only now that callers are told where to go
            for other in [item for item in instances if item is not wanted]:
                log.info("%s: stopping version %s", name, other.server.desired.spec.version)
                other.server.stop()
                instances.remove(other)

    def _examine(self, instance: _Instance, instances: list[_Instance], attempts: _Attempts) -> None:
        now, server = time.monotonic(), instance.server
        if not server.alive():
            self._lose(instance, instances, attempts, f"the server ended: {server.last_words()}")
            return
        if instance.ready and now - instance.asked_at < _HEALTH_EVERY_S:
            return
        instance.asked_at = now
        if server.healthy():
            instance.ready, instance.failures = True, 0
            if server.desired.spec_digest == attempts.spec_digest:
                attempts.error = ""
            return
        instance.failures += instance.ready
        patience = server.desired.spec.readiness_timeout_s
        if instance.failures >= _FAILURES or (not instance.ready and now - instance.since > patience):
            server.stop()
            why = "it stopped answering" if instance.ready else f"it did not answer within {patience} s"
            self._lose(instance, instances, attempts, f"{why}: {server.last_words()}")

    def _lose(self, instance: _Instance, instances: list[_Instance], attempts: _Attempts, why: str) -> None:
        instances.remove(instance)
        spec = instance.server.desired.spec
        log.warning("%s: version %s: %s", spec.name, spec.version, why)
        if instance.server.desired.spec_digest == attempts.spec_digest:
            attempts.count += 1
            attempts.error = why
            attempts.not_before = time.monotonic() + min(_LONGEST_PAUSE_S, 0.25 * 2**attempts.count)

    def _report(self, name: str, desired: Desired, attempts: _Attempts) -> None:
        ready = [item.server for item in self._instances[name] if item.ready]
        # The wanted one first; else the one before, which goes on serving.
        ready.sort(key=lambda server: server.desired.spec_digest != desired.spec_digest)
        serving = None
        if ready and (endpoint := ready[0].endpoint):
            told = ready[0].desired
            serving = ServingNow(spec_digest=told.spec_digest, spec=told.spec, endpoint=endpoint, pid=ready[0].pid)
        before = self._reported.get(name)
        observed = Observed(
            name=name,
            wanted=desired.spec_digest,
            serving=serving,
            error=attempts.error,
            attempts=attempts.count,
            observed_at=before.observed_at if before else datetime.now(UTC),
        )
        if observed != before:
            observed = observed.model_copy(update={"observed_at": datetime.now(UTC)})
            self.state.report(observed)
            self._reported[name] = observed

    def _end(self, name: str) -> None:
        for instance in self._instances.pop(name, []):
            log.info("%s: stopping version %s", name, instance.server.desired.spec.version)
            instance.server.stop()
        self._attempts.pop(name, None)
        self._reported.pop(name, None)
        self.state.forget(name)


def main() -> int:
    """The program; returns its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        log.info("stopping on %s", signal.Signals(number).name)
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        settings = load_settings()
        ServingSupervisor(ServingState(settings.serving_root), settings.validators_interpreter).run(stop)
    except ModelApprovalError as err:
        sys.stderr.write(f"serving: {err}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
