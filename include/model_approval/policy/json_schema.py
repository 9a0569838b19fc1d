"""JSON Schemas of the YAML files, for editors: completion and red lines while a policy is written.

Committed beside the files (`include/policies/policy.schema.json` ...); each YAML file names its schema in its first
line. Write them anew after a change of the schema: `python -m model_approval.policy.json_schema`.
"""

from __future__ import annotations

import json
from pathlib import Path

from model_approval.domain.base import Record
from model_approval.domain.committee import Committee
from model_approval.domain.deployment import Target
from model_approval.policy.schema import Policy
from model_approval.policy.wording import json_schema_of

_FILES: tuple[tuple[str, type[Record]], ...] = (
    ("policies/policy.schema.json", Policy),
    ("committees/committee.schema.json", Committee),
    ("targets/target.schema.json", Target),
)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_files() -> dict[str, str]:
    """The text of every schema file, by its path below the configuration folder."""
    return {
        path: json.dumps({"$schema": _DIALECT, **json_schema_of(kind)}, indent=2, ensure_ascii=False) + "\n"
        for path, kind in _FILES
    }


def write_schemas(config_dir: Path) -> list[Path]:
    """Write the files that differ; returns their paths."""
    written = []
    for name, text in schema_files().items():
        path = config_dir / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


if __name__ == "__main__":
    write_schemas(Path(__file__).resolve().parents[2])
