"""The static rules of intake: facts about a registered version -> outcomes. Pure; somebody else collects the facts.

Every outcome has check `intake`. A rule that the policy does not ask for gives no outcome; a fact that is missing
never passes. Each reason of a no says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from model_approval.domain.deployment import ServingConfig
from model_approval.domain.evidence import RuleOutcome, Verdict
from model_approval.domain.formats import EMPTY
from model_approval.domain.manifest import ArtifactManifest
from model_approval.domain.request import RegisteredVersion, RequestPayload
from model_approval.policy.schema import FrozenPolicy, SecurityHeaderRules, VersioningRules
from model_approval.policy.semver import parse_semver

SIGNATURE_FILE = "model.sig"
PROVENANCE_FILE = "provenance.json"

_NAMED = 5
_CLAIMS: Mapping[str, frozenset[str]] = {
    ".onnx": frozenset({"onnx"}),
    ".safetensors": frozenset({"safetensors"}),
    ".json": frozenset({"json"}),
    ".sig": frozenset({"json"}),
    ".yaml": frozenset({"yaml"}),
    ".yml": frozenset({"yaml"}),
    ".csv": frozenset({"csv"}),
    ".md": frozenset({"markdown"}),
    ".txt": frozenset({"text"}),
    ".pkl": frozenset({"pickle"}),
    ".pickle": frozenset({"pickle"}),
    ".npy": frozenset({"npy"}),
    ".parquet": frozenset({"parquet"}),
}
"""What a suffix declares; a file that is something else is in disguise."""


@dataclass(frozen=True)
class IntakeFacts:
    """What was found about a registered version, collected by the intake stage."""

    version: RegisteredVersion
    payload: RequestPayload
    manifest: ArtifactManifest
    formats: Mapping[str, str]
    """Path -> format as the first bytes tell it (`domain.formats.detect_format`)."""
    serving: ServingConfig | None
    serving_error: str = ""
    """Why there is no serving configuration to rely on."""
    champion_version: str | None = None
    """The champion's semantic version, if it has one."""
    has_champion: bool = False
    earlier_digests: tuple[str, ...] = field(default=())
    """What this same version was pinned as in earlier requests."""


def static_outcomes(frozen: FrozenPolicy, facts: IntakeFacts) -> tuple[RuleOutcome, ...]:
    """One outcome for every static rule that the policy asks for."""
    rules = frozen.policy.intake
    return (
        *_versioning(rules.versioning, facts),
        *_declarations(rules.security_headers, facts),
        *_serving(rules.security_headers, facts, frozen.policy.deployment.serving),
        *(_document(kind, facts) for kind in rules.documents),
        _size(rules.max_artifact_bytes, facts),
    )


def _versioning(rules: VersioningRules, facts: IntakeFacts) -> Iterator[RuleOutcome]:
    if rules.semantic_version:
        yield _semantic_version(facts)
    if rules.greater_than_champion:
        yield _greater_than_champion(facts)
    if rules.source_run:
        title = "Source run known"
        if facts.version.source_run:
            yield _yes("versioning.source-run", title, f"made by run {facts.version.source_run}")
        else:
            reason = "the registry knows no run that made this version; register it from its training run"
            yield _no("versioning.source-run", title, reason)
    if rules.immutable:
        yield _immutable(facts)


def _semantic_version(facts: IntakeFacts) -> RuleOutcome:
    rule, title, stated = "versioning.semantic-version", "Semantic version stated", facts.payload.semantic_version
    if not stated:
        return _no(rule, title, "the payload states no `semantic_version`; add one, for example 1.4.0")
    if parse_semver(stated) is None:
        return _no(rule, title, f"{stated!r} is not a semantic version; write MAJOR.MINOR.PATCH, for example 1.4.0")
    return _yes(rule, title, f"states {stated}")


def _greater_than_champion(facts: IntakeFacts) -> RuleOutcome:
    rule, title = "versioning.greater-than-champion", "Newer than the champion"
    if not facts.has_champion:
        return _yes(rule, title, "there is no champion yet")
    stated, serving = facts.payload.semantic_version or "", facts.champion_version or ""
    candidate, champion = parse_semver(stated), parse_semver(serving)
    if candidate is None:
        return _no(rule, title, "there is no semantic version to compare with the champion's; state one in the payload")
    if champion is None:
        found = f"{serving!r} is not one" if serving else "it states none"
        reason = f"the champion's semantic version is unknown: {found}; set the tag `semantic_version` on its version"
        return _outcome(rule, title, Verdict.INCONCLUSIVE, reason)
    if candidate <= champion:
        return _no(rule, title, f"{stated} is not greater than the champion's {serving}; raise the semantic version")
    return _yes(rule, title, f"{stated} is greater than the champion's {serving}")


def _immutable(facts: IntakeFacts) -> RuleOutcome:
    rule, title, digest = "versioning.immutable", "Registered version is immutable", facts.manifest.artifact_digest
    if not facts.version.ready:
        return _no(rule, title, "the registry does not call this version complete; wait until it is, then ask again")
    other = next((earlier for earlier in facts.earlier_digests if earlier != digest), None)
    if other is not None:
        advice = "register the changed bytes as a new version"
        return _no(rule, title, f"this version was {other} in an earlier request and is {digest} now; {advice}")
    return _yes(rule, title, "complete, and the same bytes as in every earlier request")


def _declarations(rules: SecurityHeaderRules, facts: IntakeFacts) -> Iterator[RuleOutcome]:
    yield _formats(rules, facts)
    for name, wanted, path in (
        ("signature", rules.signature, SIGNATURE_FILE),
        ("provenance", rules.provenance, PROVENANCE_FILE),
    ):
        if wanted == "required":
            yield _present(f"security-headers.{name}", f"Artifact carries its {name}", path, facts)
    for name, allowed, stated in (
        ("classification", rules.classification, facts.payload.classification),
        ("licence", rules.licences, facts.payload.licence),
    ):
        if allowed:
            yield _one_of(name, allowed, stated)


def _formats(rules: SecurityHeaderRules, facts: IntakeFacts) -> RuleOutcome:
    rule, title = "security-headers.formats", "Only allowed formats, none in disguise"
    offending = []
    for entry in facts.manifest.files:
        found = facts.formats.get(entry.path, "not looked at")
        claimed = _CLAIMS.get(PurePosixPath(entry.path).suffix.lower(), frozenset({found}))
        if found == EMPTY:  # a file without bytes holds nothing, whatever its name
            continue
        if found not in claimed:
            offending.append(f"{entry.path} is named {'/'.join(sorted(claimed))} and is {found}")
        elif found not in rules.formats:
            offending.append(f"{entry.path} is {found}")
    if offending:
        rest = f"; and {len(offending) - _NAMED} more" if len(offending) > _NAMED else ""
        advice = f"allowed: {', '.join(rules.formats)}; convert or remove"
        return _no(rule, title, f"{'; '.join(offending[:_NAMED])}{rest} ({advice})")
    return _yes(rule, title, f"all {len(facts.manifest.files)} files are what their names say and allowed")


def _present(rule: str, title: str, path: str, facts: IntakeFacts) -> RuleOutcome:
    entry = facts.manifest.file(path)
    if entry is None or not entry.size_bytes:
        state = "not in the artifact" if entry is None else "empty"
        return _no(rule, title, f"{path} is {state}; add it and register a new version")
    return _yes(rule, title, f"{path} is in the artifact")


def _one_of(name: str, allowed: tuple[str, ...], stated: str | None) -> RuleOutcome:
    rule, title = f"security-headers.{name}", f"Allowed {name} declared"
    if stated in allowed:
        return _yes(rule, title, f"declared as {stated}")
    found = f"{stated!r} is not allowed" if stated else f"the payload declares no `{name}`"
    return _no(rule, title, f"{found}; allowed: {', '.join(allowed)}")


def _serving(rules: SecurityHeaderRules, facts: IntakeFacts, path: str) -> Iterator[RuleOutcome]:
    """Always judged: without a serving configuration nothing could be deployed."""
    rule, title = "security-headers.http-headers", "HTTP security headers declared"
    if facts.serving is None:
        yield _no(rule, title, f"{facts.serving_error or f'{path} was not found'}; add a valid {path} to the artifact")
        return
    yield _http_headers(rules, facts.serving, path)
    if rules.authentication != "none":
        rule, title, asked = "security-headers.authentication", "Endpoint asks for authentication", rules.authentication
        if facts.serving.authentication == asked:
            yield _yes(rule, title, f"{path} declares {asked}")
        else:
            found = facts.serving.authentication
            yield _no(rule, title, f"{path} declares {found}; write `authentication: {asked}`")


def _http_headers(rules: SecurityHeaderRules, serving: ServingConfig, path: str) -> RuleOutcome:
    rule, title = "security-headers.http-headers", "HTTP security headers declared"
    declared = {name.casefold(): value for name, value in serving.headers.items()}
    wrong = []
    for name, wanted in rules.http_headers.items():
        found = declared.get(name.casefold())
        if not found:
            wrong.append(f"{name} is missing" + (f" (must be {wanted!r})" if wanted else ""))
        elif wanted is not None and found != wanted:
            wrong.append(f"{name} is {found!r}, must be {wanted!r}")
    if wrong:
        return _no(rule, title, f"{path}: {'; '.join(wrong)}; correct its `headers`")
    return _yes(rule, title, f"{path} declares {', '.join(rules.http_headers) or 'what is asked for: nothing'}")


def _document(kind: str, facts: IntakeFacts) -> RuleOutcome:
    rule, title = f"documents.{kind}", f"Document {kind.replace('_', ' ')} present"
    path = facts.payload.documents.get(kind)
    if path is None:
        return _no(rule, title, f"the payload names no document `{kind}`; add `documents: {{{kind}: <path>}}`")
    return _present(rule, title, path, facts)


def _size(limit: int, facts: IntakeFacts) -> RuleOutcome:
    rule, title, size = "artifact.size", "Artifact is not too large", facts.manifest.size_bytes
    if size > limit:
        return _no(rule, title, f"{size:,} bytes are more than the {limit:,} allowed; remove what is not served")
    return _yes(rule, title, f"{size:,} bytes of at most {limit:,}")


def _yes(rule: str, title: str, reason: str) -> RuleOutcome:
    return _outcome(rule, title, Verdict.PASSED, reason)


def _no(rule: str, title: str, reason: str) -> RuleOutcome:
    return _outcome(rule, title, Verdict.FAILED, reason)


def _outcome(rule: str, title: str, verdict: Verdict, reason: str) -> RuleOutcome:
    return RuleOutcome(rule=rule, check="intake", title=title, verdict=verdict, reason=reason[:4000])
