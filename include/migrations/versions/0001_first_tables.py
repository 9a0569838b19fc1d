"""The first tables: policies, promotions, evidence, votes, waivers, decisions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_OF_A_PROMOTION = ("evidence", "votes", "waivers", "decisions")
_VERSION = ("registry", "model", "version", "environment")


def upgrade() -> None:
    _create("policies", ("digest",), _text("digest", 71), _text("name", 64))
    _create_promotions()
    _create_evidence()
    _create_votes()
    _create_waivers()
    _create("decisions", ("request_id",), _request(), _text("digest", 71))


def downgrade() -> None:
    for name in ("decisions", "waivers", "votes", "evidence", "promotions", "policies"):
        op.drop_table(f"mrm_{name}")


def _create_promotions() -> None:
    _create(
        "promotions",
        ("id",),
        _text("id", 63),
        _text("registry", 63),
        _text("model", 128),
        _text("version", 128),
        _text("environment", 63),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _text("state", 32),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        _text("policy_name", 64),
        _text("policy_digest", 71),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("state_since", _MOMENT, nullable=False),
        sa.Column("review_deadline", _MOMENT),
        sa.Column("record_version", sa.Integer(), nullable=False),
        sa.UniqueConstraint(*_VERSION, "attempt", name="uq_mrm_promotions_attempt"),
    )
    _index("promotions", "state", "created_at")
    _index("promotions", "model", "environment", "state")
    _index("promotions", "policy_name")
    _index("promotions", "review_deadline")
    _unique_where("promotions", "one_open", _VERSION, "is_open")


def _create_evidence() -> None:
    _create(
        "evidence",
        ("request_id", "check_name", "run"),
        _request(),
        _text("check_name", 128),
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        _text("digest", 71, nullable=True),
        sa.Column("recorded_at", _MOMENT, nullable=False),
    )


def _create_votes() -> None:
    _create(
        "votes",
        ("id",),
        _text("id", 63),
        _request(),
        _text("reviewer", 256),
        _text("role", 63),
        _text("choice", 32),
        _text("digest", 71),
        sa.Column("cast_at", _MOMENT, nullable=False),
        sa.Column("withdrawn_at", _MOMENT),
    )
    _index("votes", "request_id")
    _unique_where("votes", "one_standing", ("request_id", "reviewer"), "withdrawn_at IS NULL")


def _create_waivers() -> None:
    _create(
        "waivers",
        ("id",),
        _text("id", 63),
        _request(),
        _text("rule", 128),
        _text("granted_by", 256),
        _text("digest", 71),
        sa.Column("granted_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
    )
    _index("waivers", "request_id")


def _create(name: str, keys: tuple[str, ...], *items: SchemaItem) -> None:
    """A table of whole records: the given columns, the record and the form it is written in; constraints by name."""
    parent = [
        sa.ForeignKeyConstraint(["request_id"], ["mrm_promotions.id"], name=f"fk_mrm_{name}_request_id_mrm_promotions")
    ]
    op.create_table(
        f"mrm_{name}",
        *items,
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(*keys, name=f"pk_mrm_{name}"),
        *(parent if name in _OF_A_PROMOTION else []),
    )


def _text(name: str, length: int, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _request() -> sa.Column[str]:
    return _text("request_id", 63)


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_mrm_{table}_{'_'.join(columns)}", f"mrm_{table}", columns)


def _unique_where(table: str, name: str, columns: tuple[str, ...], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(
        f"uq_mrm_{table}_{name}", f"mrm_{table}", columns, unique=True, sqlite_where=where, postgresql_where=where
    )
