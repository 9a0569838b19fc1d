"""A registry in memory; twin of `adapters/mlflow_registry.py` and `adapters/s3_registry.py`.

registry = MemoryRegistry()
registry.register("fraud", "18", "memory://fraud/18", owner="rita")
registry.request("fraud", "18", '{"environment": "production", ...}')
"""

from __future__ import annotations

from model_approval.domain.errors import NotFoundError, OutsideSystemError
from model_approval.domain.request import RegisteredVersion
from model_approval.ports import RegistryStatus


class MemoryRegistry:
    """Versions in order of registration.

    Attributes:
        down: Set it, and every call fails as if the registry were unreachable.
        descriptions: (model, version) -> what `crown` wrote.
    """

    def __init__(self, name: str = "mlflow") -> None:
        self.name = name
        self.down = False
        self.descriptions: dict[tuple[str, str], str] = {}
        self._versions: dict[tuple[str, str], RegisteredVersion] = {}
        self._aliases: dict[tuple[str, str], str] = {}

    def register(
        self,
        model: str,
        version: str,
        artifact_uri: str,
        *,
        source_run: str | None = "run-1",
        owner: str | None = None,
        ready: bool = True,
    ) -> RegisteredVersion:
        """Add a version."""
        made = RegisteredVersion(
            registry=self.name,
            model=model,
            version=version,
            artifact_uri=artifact_uri,
            ready=ready,
            source_run=source_run,
            owner=owner,
        )
        self._versions[model, version] = made
        return made

    def find_requested(self) -> list[RegisteredVersion]:
        """All versions whose tag `promotion` is `requested`, oldest first."""
        self._answer()
        return [version for version in self._versions.values() if version.tags.get("promotion") == "requested"]

    def get(self, model: str, version: str) -> RegisteredVersion:
        """One version."""
        self._answer()
        try:
            return self._versions[model, version]
        except KeyError:
            raise NotFoundError(f"{self.name} has no {model} version {version}") from None

    def payload_of(self, version: RegisteredVersion) -> str:
        """The payload as it is now; empty when there is none."""
        return self.get(version.model, version.version).tags.get("promotion.payload", "")

    def request(self, model: str, version: str, payload: str) -> None:
        """Set payload and tag."""
        self._tag(model, version, {"promotion.payload": payload, "promotion": "requested"})

    def set_status(self, model: str, version: str, status: RegistryStatus) -> None:
        """Write the tags that say what became of the request."""
        self._tag(
            model,
            version,
            {
                "promotion": status.state,
                "promotion.reason": status.reason,
                "promotion.request_id": status.request_id,
            },
        )

    def champion(self, model: str, environment: str) -> RegisteredVersion | None:
        """The version that holds the alias, or None."""
        self._answer()
        version = self._aliases.get((model, environment))
        return self._versions[model, version] if version else None

    def crown(self, model: str, version: str, environment: str, *, description: str) -> None:
        """Point the alias to this version and write the description."""
        self.get(model, version)
        self._aliases[model, environment] = version
        self.descriptions[model, version] = description

    def uncrown(self, model: str, environment: str) -> None:
        """Remove the alias."""
        self._answer()
        self._aliases.pop((model, environment), None)

    def _tag(self, model: str, version: str, tags: dict[str, str | None]) -> None:
        known = self.get(model, version)
        merged = {**known.tags, **tags}
        kept = {key: value for key, value in merged.items() if value is not None}
        self._versions[model, version] = known.model_copy(update={"tags": kept})

    def _answer(self) -> None:
        if self.down:
            raise OutsideSystemError(self.name, "the registry does not answer")
