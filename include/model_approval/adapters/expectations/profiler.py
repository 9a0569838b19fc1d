"""`ports.DataProfiler` on Great Expectations."""

from __future__ import annotations

from importlib.metadata import version

from model_approval.adapters.expectations.privacy import profile
from model_approval.adapters.expectations.tables import check_table
from model_approval.domain.evidence import RuleOutcome
from model_approval.policy.schema import PrivacyRules, TableRule


class GreatExpectationsProfiler:
    """A `DataProfiler`. The first call in a process takes about six seconds longer: the library's import."""

    @property
    def library(self) -> str:
        """Name and version of what checks."""
        return f"great_expectations {version('great_expectations')}"

    def profile(
        self, schema_json: bytes, sample_csv: bytes, rules: PrivacyRules, declared_personal: frozenset[str]
    ) -> tuple[tuple[RuleOutcome, ...], bytes]:
        """Rule outcomes `privacy.*` and the validation result; see `privacy.profile`."""
        return profile(schema_json, sample_csv, rules, declared_personal)

    def check_table(self, csv: str, rule: TableRule) -> tuple[int, tuple[str, ...], bytes]:
        """Rows, unmet expectations and Data Docs page; see `tables.check_table`."""
        return check_table(csv, rule)
