"""Writes the reference pages of `include/docs` from the code's own docstrings; a test holds them current.

python -m tests.support.reference
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

from model_approval import settings as settings_module
from model_approval.domain import errors as errors_module
from model_approval.embedded.processes import ProgramError
from model_approval.policy import schema as policy_module
from model_approval.settings import PREFIX, Settings
from model_approval.validators.gpu_benchmark import extra_parameters as extras_module
from model_approval.validators.gpu_benchmark import parameters as benchmark_module
from tests.support import rules

DOCS = Path(__file__).resolve().parents[2] / "include" / "docs"

SETTINGS_HEAD = f"""# Settings

Every setting is an environment variable, read once per process. Times are in seconds unless the name says otherwise.
An unknown `{PREFIX}` variable is an error: a typo must not be silently ignored.

| variable | default | meaning |
|---|---|---|
"""
POLICY_HEAD = """# Policy reference

One file is one promotion path and becomes one DAG. Unknown keys are refused. `model-approval policy check` names file,
line and field of every mistake; the JSON Schemas beside the files let an editor complete them.
"""
BENCHMARK_HEAD = """# Parameters of a benchmark

The keys of `parameters` in a check whose validator is `gpu_benchmark`; those of ExtraParameters stand beside those of
Parameters. An unknown key is an error that names it.
"""
ERRORS_HEAD = """# Error codes

Messages say what, which one and what to do. The code is stable, for programs and for searching.

| code | name | meaning |
|---|---|---|
"""


def field_docs(module: ModuleType, cls: type) -> dict[str, str]:
    """Attribute docstrings of a class: field -> the string that follows it."""
    tree = ast.parse(inspect.getsource(module))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    found = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            is_doc = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            found[node.target.id] = " ".join(str(after.value.value).split()) if is_doc else ""  # type: ignore[union-attr]
    return found


def shown(default: object) -> str:
    """A default as a reader writes it."""
    plain = {None: "unset", "": "empty"}
    if isinstance(default, BaseModel):
        return "as below"
    if isinstance(default, tuple):
        return ", ".join(f"`{item}`" for item in default) or "none"
    return plain.get(default, f"`{default}`") if isinstance(default, str | None) else f"`{default}`"


def settings_page() -> str:
    """`settings.md`."""
    docs, rows = field_docs(settings_module, Settings), []
    for name, field in Settings.model_fields.items():
        default = "the folder `include/` beside the package" if name == "config_dir" else shown(field.default)
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {docs[name]} |\n")
    return SETTINGS_HEAD + "".join(rows)


def policy_page() -> str:
    """`policies.md`: each record of the schema as a table."""
    # FrozenPolicy is what the system makes of a file, not something to write.
    return POLICY_HEAD + "".join(_records(policy_module, leave_out=("FrozenPolicy",)))


def benchmark_page() -> str:
    """`benchmark-parameters.md`: each record of a benchmark's parameters as a table."""
    return BENCHMARK_HEAD + "".join([*_records(benchmark_module), *_records(extras_module)])


def _records(module: ModuleType, leave_out: tuple[str, ...] = ()) -> list[str]:
    parts = []
    for name, cls in vars(module).items():
        is_ours = inspect.isclass(cls) and issubclass(cls, BaseModel) and cls.__module__ == module.__name__
        if not is_ours or name in leave_out:
            continue
        docs = field_docs(module, cls)
        parts.append(f"\n## {name}\n\n{inspect.getdoc(cls)}\n\n| key | default | meaning |\n|---|---|---|\n")
        for key, field in cls.model_fields.items():
            if key not in docs:  # inherited: told where it is from
                continue
            default = "required" if field.is_required() else shown(field.get_default(call_default_factory=True))
            parts.append(f"| `{field.alias or key}` | {default} | {docs[key]} |\n")
    return parts


def errors_page() -> str:
    """`errors.md`."""
    rows = [
        f"| {cls.code} | {name} | {(inspect.getdoc(cls) or '').splitlines()[0]} |\n"
        for name, cls in sorted(_error_classes().items(), key=lambda item: item[1].code)
    ]
    return ERRORS_HEAD + "".join(rows)


def _error_classes() -> dict[str, type[errors_module.ModelApprovalError]]:
    """Our errors by name: those of the domain, and the one that the embedded stack adds."""
    domain = {name: cls for name, cls in vars(errors_module).items() if inspect.isclass(cls)}
    found = {name: cls for name, cls in domain.items() if issubclass(cls, errors_module.ModelApprovalError)}
    return {**found, ProgramError.__name__: ProgramError}


PAGES = {
    "settings.md": settings_page,
    "policies.md": policy_page,
    "benchmark-parameters.md": benchmark_page,
    "errors.md": errors_page,
    "security-scan.md": rules.page,
}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (DOCS / file).write_text(page())
