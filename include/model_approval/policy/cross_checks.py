"""What only shows when files are read together: a policy against its committee, target and other policies. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from pydantic import ValidationError

from model_approval.domain.base import Record
from model_approval.domain.committee import Committee
from model_approval.domain.deployment import Runtime, Target
from model_approval.domain.errors import PolicyError
from model_approval.domain.scan_parameters import ScanParameters
from model_approval.policy.schema import FrozenPolicy, Policy
from model_approval.policy.voting import quorum_gap
from model_approval.policy.yaml_source import Location, Source, dotted

RecordT_co = TypeVar("RecordT_co", bound=Record, covariant=True)


@dataclass(frozen=True)
class Loaded(Generic[RecordT_co]):
    """A record with the file it came from, so that a later check can still name the line."""

    record: RecordT_co
    source: Source

    def mistake(self, message: str, *location: str | int, hint: str = "") -> PolicyError:
        """An error at a location of the file."""
        return PolicyError(
            message, file=self.source.file, line=self.source.line_of(location), field=dotted(location), hint=hint
        )


def cross_check(
    loaded: Loaded[Policy], committees: Mapping[str, Loaded[Committee]], targets: Mapping[str, Loaded[Target]]
) -> Iterator[PolicyError]:
    """What is wrong with a policy in view of the committee and target it names."""
    yield from _check_parameters(loaded)
    review, deployment = loaded.record.review, loaded.record.deployment
    if review.committee in committees:
        yield from _check_quorum(loaded, committees[review.committee].record)
    else:
        yield _unknown(loaded, "committee", review.committee, committees, ("review", "committee"))
    if deployment.target in targets:
        yield from _check_resources(loaded, targets[deployment.target].record)
    else:
        yield _unknown(loaded, "target", deployment.target, targets, ("deployment", "target"))


def _check_parameters(loaded: Loaded[Policy]) -> Iterator[PolicyError]:
    """Those of a security scan, which would otherwise be told by the first scan.

    Not part of the schema itself: a policy that was frozen into a request must stay readable when parameters change.
    """
    for index, check in enumerate(loaded.record.checks):
        if check.validator != "security_scan":
            continue
        try:
            ScanParameters.model_validate(check.parameters)
        except ValidationError as err:
            for mistake in err.errors(include_url=False, include_input=False):
                at = ("checks", index, "parameters", *mistake["loc"])
                yield loaded.mistake(mistake["msg"], *at, hint="see include/docs/security-scan.md")


def _unknown(
    loaded: Loaded[Policy], what: str, name: str, known: Mapping[str, object], location: Location
) -> PolicyError:
    hint = f"usable: {', '.join(sorted(known)) or 'none'}"
    return loaded.mistake(f"there is no usable {what} {name!r}", *location, hint=hint)


def _check_quorum(loaded: Loaded[Policy], committee: Committee) -> Iterator[PolicyError]:
    needed: dict[str, int] = {}
    for index, rule in enumerate(loaded.record.review.quorum):
        at = ("review", "quorum", index)
        voters = committee.members_with(rule.role)
        if rule.role not in committee.roles:
            hint = f"its roles: {', '.join(sorted(committee.roles))}"
            yield loaded.mistake(f"the committee {committee.name} has no role {rule.role!r}", *at, "role", hint=hint)
        elif not voters:
            why = "may not vote" if committee.roles[rule.role].members else "has no members"
            yield loaded.mistake(f"the role {rule.role!r} of {committee.name} {why}", *at, "role")
        elif len(voters) < rule.votes:
            hint = f"members: {', '.join(sorted(voters))}; add some, or ask for fewer votes"
            yield loaded.mistake(f"asks {rule.votes} votes of {len(voters)} people", *at, "votes", hint=hint)
        else:
            needed[rule.role] = rule.votes
    if len(needed) == len(loaded.record.review.quorum):
        gap = quorum_gap(needed, {role: committee.members_with(role) for role in needed})
        if gap:
            hint = "add people who are in one role only"
            message = f"too few different people for {', '.join(gap)}: one person votes in one role only"
            yield loaded.mistake(message, "review", "quorum", hint=hint)


def _check_resources(loaded: Loaded[Policy], target: Target) -> Iterator[PolicyError]:
    for index, check in enumerate(loaded.record.checks):
        at = ("checks", index)
        if target.runtime is Runtime.LOCAL and check.resources.gpu:
            hint = "remove `gpu`, or choose a kubernetes target"
            yield loaded.mistake(f"the local target {target.name} schedules no GPU", *at, "resources", "gpu", hint=hint)
        if target.runtime is Runtime.LOCAL and check.image:
            hint = "choose a kubernetes target"
            yield loaded.mistake(f"the local target {target.name} runs no container images", *at, "image", hint=hint)
        without_gpu = target.runtime is Runtime.KUBERNETES and not check.resources.gpu
        if check.validator == "gpu_benchmark" and without_gpu and not check.allow_cpu:
            hint = "give `resources: {gpu: 1}`, or `allow_cpu: true` for figures labelled as a CPU's"
            yield loaded.mistake("a benchmark without GPU that may not run on a CPU never passes", *at, hint=hint)


def overlap(one: FrozenPolicy, two: FrozenPolicy) -> bool:
    """Whether there is a model name that both policies would govern."""
    first, second = one.policy.match, two.policy.match
    return (first.registry, first.environment) == (second.registry, second.environment) and any(
        _meet(left, right) for left in first.models for right in second.models
    )


def overlap_words(one: FrozenPolicy, two: FrozenPolicy) -> str:
    """The warning about two policies that overlap."""
    match = one.policy.match
    return (
        f"policies {one.policy.name} and {two.policy.name} can govern the same model of {match.registry} to "
        f"{match.environment}: such a request is refused (narrow the models of one)"
    )


@lru_cache(maxsize=4096)
def _meet(left: str, right: str) -> bool:
    """Whether two shell patterns share a name. A class such as `[ab]` counts as any letter: better one warning more."""
    if left.startswith("*"):
        return _meet(left[1:], right) or (bool(right) and _meet(left, _rest(right)))
    if right.startswith("*"):
        return _meet(right, left)
    if not left or not right:
        return not left and not right
    wild = left[0] in "?[" or right[0] in "?["
    return (wild or left[0] == right[0]) and _meet(_rest(left), _rest(right))


def _rest(pattern: str) -> str:
    """A pattern without its first letter, wildcard or class."""
    end = pattern.find("]", 2) if pattern.startswith("[") else -1
    return pattern[end + 1 :] if end > 0 else pattern[1:]
