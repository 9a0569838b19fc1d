"""The request page's content, put together from the review store and the audit log; templates only lay it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_approval.domain.digests import digest_of
from model_approval.domain.errors import NotFoundError
from model_approval.domain.evidence import StoredEvidence, Verdict
from model_approval.domain.manifest import ArtifactManifest
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.review import Vote, Waiver
from model_approval.policy.decide import review_readiness
from model_approval.policy.readiness import Readiness
from model_approval.policy.schema import FrozenPolicy
from model_approval.policy.voting import RoleTally, tally
from model_approval.ports import Services
from model_approval.stages.review import SeenDigests
from model_review import evidence_view, findings_view, plots, standing, words
from model_review.timeline import Timeline, read_timeline

HISTORY_VERSIONS = 10


@dataclass(frozen=True)
class Dossier:
    """Everything stored about one request, read once."""

    promotion: Promotion
    frozen: FrozenPolicy
    evidence: tuple[StoredEvidence, ...]
    votes: tuple[Vote, ...]
    waivers: tuple[Waiver, ...]

    @property
    def version(self) -> str:
        """See `request_version`."""
        runs = [(item.check, item.run) for item in self.evidence]
        return _version(self.promotion, self.votes, self.waivers, runs)

    @property
    def seen(self) -> SeenDigests:
        """What a decision made now would be bound to."""
        return SeenDigests(
            artifact=self.promotion.candidate.artifact_digest if self.promotion.candidate else "",
            policy=self.promotion.request.policy_digest,
            evidence=self.promotion.evidence_digest or "",
        )


@dataclass(frozen=True)
class RequestView:
    """The request page."""

    dossier: Dossier
    look: words.Look
    title: str
    headline: str
    requested: words.Moment
    since: words.Moment
    deadline: words.Moment | None
    champion: str
    sections: tuple[evidence_view.CheckSection, ...]
    intake: tuple[evidence_view.OutcomeRow, ...]
    findings: findings_view.Findings
    files: tuple[evidence_view.FileChange, ...]
    histories: tuple[plots.History, ...]
    progress: tuple[RoleTally, ...]
    votes: tuple[VoteLine, ...]
    rights: standing.Rights
    timeline: Timeline
    waivable: tuple[evidence_view.OutcomeRow, ...]
    """Blocking rules that this person may waive."""
    stuck: str
    """What keeps anybody from approving; empty when somebody can."""

    @property
    def promotion(self) -> Promotion:
        """The record itself."""
        return self.dossier.promotion

    @property
    def is_live(self) -> bool:
        """Whether the page can still change by itself."""
        return self.promotion.state.is_open

    @property
    def overruled(self) -> tuple[evidence_view.OutcomeRow, ...]:
        """Rules that did not pass and are accepted by a waiver: what an approval overrules."""
        rows = [row for section in self.sections for row in section.rows] + list(self.intake)
        return tuple(row for row in rows if row.waiver and row.outcome.verdict is not Verdict.PASSED)

    @property
    def after_approval(self) -> str:
        """What happens next if this person approves."""
        titles = {self.dossier.frozen.committee.roles[role].title for role in self.rights.roles}
        missing = [(line.title, standing.missing(line)) for line in self.progress if not line.is_complete]
        left = [title for title, votes in missing if votes > (1 if title in titles else 0)]
        if left:
            return f"Your approval is counted; {words.listed(left)} still has to vote."
        target, hours = self.dossier.frozen.target.name, self.dossier.frozen.policy.review.approval_valid_h
        return (
            f"This completes the review. The decision is signed, the bytes are verified again, and the version "
            f"replaces {self.champion or 'nothing'} on {target} at once, at the latest in {words.number(hours, 'h')}."
        )

    @property
    def intake_passed(self) -> int:
        """How many static rules passed."""
        return sum(row.outcome.verdict is Verdict.PASSED for row in self.intake)


@dataclass(frozen=True)
class VoteLine:
    """One vote, as the aside shows it."""

    vote: Vote
    look: words.Look
    role: str
    at: words.Moment


def read_dossier(services: Services, request_id: str) -> Dossier:
    """Read one request.

    Raises:
        NotFoundError: No such request.
    """
    promotion = services.reviews.get(request_id)
    return Dossier(
        promotion=promotion,
        frozen=services.reviews.policy(promotion.request.policy_digest),
        evidence=tuple(services.reviews.evidence(request_id)),
        votes=tuple(services.reviews.votes(request_id)),
        waivers=tuple(services.reviews.waivers(request_id)),
    )


def request_version(services: Services, request_id: str) -> str:
    """Changes whenever anything on the page does; what the polling script compares, every few seconds in each tab.

    Raises:
        NotFoundError: No such request.
    """
    reviews = services.reviews
    votes, waivers = reviews.votes(request_id), reviews.waivers(request_id)
    return _version(reviews.get(request_id), votes, waivers, reviews.evidence_runs(request_id))


def _version(
    promotion: Promotion, votes: Sequence[Vote], waivers: Sequence[Waiver], runs: Sequence[tuple[str, int]]
) -> str:
    """Of stored evidence check and run are enough, since what is stored of a run never changes."""
    standing_votes, waived = [vote.digest for vote in votes], [waiver.digest for waiver in waivers]
    return digest_of([promotion.record_version, standing_votes, waived, [list(run) for run in runs]])[7:19]


def build_request(services: Services, subject: str, request_id: str) -> RequestView:
    """Put the page of one request together for one person."""
    dossier, now = read_dossier(services, request_id), services.clock()
    promotion, frozen = dossier.promotion, dossier.frozen
    ready = review_readiness(frozen, promotion, dossier.waivers, now=now)
    waivers = {waiver.rule: waiver for waiver in ready.waived}
    blocking = ready.blocking if promotion.check_outcomes else ()
    sections = evidence_view.check_sections(promotion, frozen, dossier.evidence, waivers, blocking)
    intake = evidence_view.intake_rows(promotion, waivers, blocking)
    mine = standing.rights(frozen, promotion, subject, dossier.votes)
    progress = tally(frozen, promotion, dossier.votes)
    rows = [row for section in sections for row in section.rows] + list(intake)
    return RequestView(
        dossier=dossier,
        look=words.STATES[promotion.state],
        title=f"{promotion.request.model} {promotion.request.version}",
        headline=headline(promotion, ready, mine, frozen),
        requested=words.moment(promotion.request.created_at, now),
        since=words.moment(promotion.state_since, now),
        deadline=words.moment(promotion.review_deadline, now) if promotion.review_deadline else None,
        champion=_champion(promotion),
        sections=sections,
        intake=intake,
        findings=findings_view.findings_view(frozen, dossier.evidence),
        files=_files(services, promotion),
        histories=_histories(services, promotion, frozen),
        progress=progress,
        votes=tuple(
            VoteLine(
                vote,
                words.CHOICES[vote.choice],
                frozen.committee.roles[vote.role].title,
                words.moment(vote.cast_at, now),
            )
            for vote in dossier.votes
        ),
        rights=mine,
        timeline=read_timeline(services, promotion.id),
        waivable=tuple(row for row in rows if row.blocks and row.outcome.waivable) if mine.can_waive else (),
        stuck=_nobody(promotion, progress),
    )


def headline(promotion: Promotion, ready: Readiness, mine: standing.Rights, frozen: FrozenPolicy) -> str:
    """The one sentence at the top: where this stands, and what that means for the person looking."""
    if not promotion.state.awaits_people:
        return _sentence(promotion.state_reason) or _PLAIN.get(promotion.state, "")
    if mine.roles:
        titles = [frozen.committee.roles[role].title for role in mine.roles]
        return f"{_sentence(ready.sentence)} You may vote as {words.listed(titles, 'or')}."
    return f"{_sentence(ready.sentence)} {mine.why_not_vote}".strip()


_PLAIN = {
    PromotionState.REQUESTED: "Waiting for intake to pin the artifact and apply the static rules.",
    PromotionState.VALIDATING: "The checks are running; the review opens when their evidence is in.",
    PromotionState.APPROVED: "Approved; the deployment starts next.",
    PromotionState.DEPLOYING: "Approved; the bytes are being verified and deployed.",
    PromotionState.DEPLOYED: "Deployed and verified on its live endpoint.",
}


def _sentence(text: str) -> str:
    capital = text[:1].upper() + text[1:]
    return capital if capital.endswith((".", "!", "?")) or not capital else f"{capital}."


def _champion(promotion: Promotion) -> str:
    champion = promotion.candidate.champion if promotion.candidate else None
    return f"{champion.model} {champion.version}" if champion else ""


def _nobody(promotion: Promotion, progress: Sequence[RoleTally]) -> str:
    stuck = [line for line in progress if standing.missing(line) > len(line.still_eligible)]
    if not promotion.state.awaits_people or not stuck:
        return ""
    return f"No one can complete this review: {words.listed([line.title for line in stuck])} has nobody left to vote."


def _files(services: Services, promotion: Promotion) -> tuple[evidence_view.FileChange, ...]:
    candidate = promotion.candidate
    if candidate is None:
        return ()
    return evidence_view.file_changes(candidate.manifest, _champion_manifest(services, promotion))


def _champion_manifest(services: Services, promotion: Promotion) -> ArtifactManifest | None:
    """The champion's manifest as its own request pinned it; a champion from before our time has none."""
    champion = promotion.candidate.champion if promotion.candidate else None
    if champion is None or champion.request_id is None:
        return None
    try:
        pinned = services.reviews.get(champion.request_id).candidate
    except NotFoundError:
        return None
    return pinned.manifest if pinned else None


def _histories(services: Services, promotion: Promotion, frozen: FrozenPolicy) -> tuple[plots.History, ...]:
    """Each measured rule over the last versions of this model that were checked for this environment."""
    request = promotion.request
    earlier = [
        other
        for other in services.reviews.find(model=request.model, environment=request.environment)
        if other.check_outcomes and other.request.created_at <= request.created_at
    ][:HISTORY_VERSIONS]
    rules = {rule.id: rule for check in frozen.policy.checks for rule in check.rules if rule.limit}
    found = []
    for outcome in promotion.check_outcomes:
        if outcome.rule in rules and outcome.value is not None:
            readings = tuple(filter(None, (_reading(other, outcome.rule, promotion.id) for other in reversed(earlier))))
            limits = evidence_view.limits_of(rules[outcome.rule], outcome.baseline)
            found.append(plots.history(outcome.title, readings, limits, outcome.limit))
    return tuple(filter(None, found))


def _reading(promotion: Promotion, rule: str, candidate_id: str) -> plots.Reading | None:
    outcome = next((outcome for outcome in promotion.check_outcomes if outcome.rule == rule), None)
    if outcome is None or outcome.value is None:
        return None
    return plots.Reading(
        version=promotion.request.version,
        value=outcome.value,
        text=words.number(outcome.value, outcome.unit),
        request_id=promotion.id,
        is_candidate=promotion.id == candidate_id,
    )


def what_changed(dossier: Dossier, seen: SeenDigests) -> tuple[str, ...]:
    """For somebody whose page was stale: which of the things they saw is another one now, and since when."""
    now, lines = dossier.seen, []
    if now.artifact != seen.artifact:
        lines.append("the pinned artifact is another one")
    if now.policy != seen.policy:
        lines.append("the policy is another one")
    if now.evidence != seen.evidence:
        runs = evidence_view.latest(dossier.evidence).values()
        newest = max(runs, key=lambda run: run.recorded_at, default=None)
        said = f": {newest.check} run {newest.run} came in at {newest.recorded_at:%H:%M} UTC" if newest else ""
        lines.append(f"the evidence changed{said}")
    return tuple(lines)
