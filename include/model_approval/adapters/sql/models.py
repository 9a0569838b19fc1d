"""Tables of the review database.

A record is kept whole, as canonical JSON (`record`), beside the columns that queries and constraints need. What
constraints guard, no caller can race: one open request per version and environment, one standing vote per reviewer,
one decision per request. `schema_version` names the form of the JSON, so that a later release knows an older row.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    Boolean,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

RECORD_SCHEMA = 1
"""The form of the records that this release writes."""

VERSION_TABLE = "model_approval_version"
"""Where Alembic keeps our revision; Airflow and FAB have tables of their own."""

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, always with zone UTC; SQLite keeps it without zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; without zone for SQLite, which would drop it silently."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Back with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all our tables; their names carry a prefix, so that they may share a database with Airflow's."""

    metadata = MetaData(naming_convention=NAMING)


class _Recorded:
    """A whole record and the form it is written in."""

    record: Mapped[str] = mapped_column(Text)
    schema_version: Mapped[int] = mapped_column(Integer, default=RECORD_SCHEMA)


class PolicyRow(_Recorded, Base):
    """A frozen policy under its digest."""

    __tablename__ = "mrm_policies"

    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))


class PromotionRow(_Recorded, Base):
    """A promotion: the request and all that became of it."""

    __tablename__ = "mrm_promotions"
    __table_args__ = (
        UniqueConstraint("registry", "model", "version", "environment", "attempt", name="uq_mrm_promotions_attempt"),
        Index(
            "uq_mrm_promotions_one_open",
            "registry",
            "model",
            "version",
            "environment",
            unique=True,
            sqlite_where=text("is_open"),
            postgresql_where=text("is_open"),
        ),
        Index(None, "state", "created_at"),
        Index(None, "model", "environment", "state"),
    )

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    registry_name: Mapped[str] = mapped_column("registry", String(63))  # `registry` is taken by SQLAlchemy itself
    model: Mapped[str] = mapped_column(String(128))
    version: Mapped[str] = mapped_column(String(128))
    environment: Mapped[str] = mapped_column(String(63))
    attempt: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(32))
    is_open: Mapped[bool] = mapped_column(Boolean)
    policy_name: Mapped[str] = mapped_column(String(64), index=True)
    policy_digest: Mapped[str] = mapped_column(String(71))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state_since: Mapped[datetime] = mapped_column(UtcDateTime)
    review_deadline: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    record_version: Mapped[int] = mapped_column(Integer)


class EvidenceRow(_Recorded, Base):
    """One run of one check."""

    __tablename__ = "mrm_evidence"

    request_id: Mapped[str] = mapped_column(ForeignKey("mrm_promotions.id"), primary_key=True)
    check_name: Mapped[str] = mapped_column(String(128), primary_key=True)
    run: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    digest: Mapped[str | None] = mapped_column(String(71))
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)


class VoteRow(_Recorded, Base):
    """A vote; withdrawn ones stay."""

    __tablename__ = "mrm_votes"
    __table_args__ = (
        Index(
            "uq_mrm_votes_one_standing",
            "request_id",
            "reviewer",
            unique=True,
            sqlite_where=text("withdrawn_at IS NULL"),
            postgresql_where=text("withdrawn_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("mrm_promotions.id"), index=True)
    reviewer: Mapped[str] = mapped_column(String(256))
    role: Mapped[str] = mapped_column(String(63))
    choice: Mapped[str] = mapped_column(String(32))
    digest: Mapped[str] = mapped_column(String(71))
    cast_at: Mapped[datetime] = mapped_column(UtcDateTime)
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class WaiverRow(_Recorded, Base):
    """A granted waiver."""

    __tablename__ = "mrm_waivers"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("mrm_promotions.id"), index=True)
    rule: Mapped[str] = mapped_column(String(128))
    granted_by: Mapped[str] = mapped_column(String(256))
    digest: Mapped[str] = mapped_column(String(71))
    granted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DecisionRow(_Recorded, Base):
    """The signed decision of a request: a DSSE envelope, of which there is one."""

    __tablename__ = "mrm_decisions"

    request_id: Mapped[str] = mapped_column(ForeignKey("mrm_promotions.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(71))
