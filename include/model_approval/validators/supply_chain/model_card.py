"""The facts in a model card's front matter: licence, task, training data, base models.

They are the sender's claims. They fill the bill of materials and are compared with the licence's text; nothing rests
on them alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_approval.validators.contract import plain_line
from model_approval.validators.supply_chain.inspection import Inspection

if TYPE_CHECKING:
    from model_approval.validators.security_scan.yaml_leaves import Leaf

_CARDS = ("readme.md", "model_card.md", "modelcard.md", "model-card.md")
_MAX_VALUES = 200


@dataclass(frozen=True)
class ModelCard:
    """What the card says, as it is written; empty where it says nothing."""

    path: str = ""
    name: str = ""
    licences: tuple[str, ...] = ()
    licence_name: str = ""
    """The name of a licence that the card's list of licences does not know (`license: other`)."""
    licence_line: int | None = None
    task: str = ""
    library: str = ""
    datasets: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()


def read_card(inspection: Inspection) -> ModelCard:
    """The card nearest to the artifact's top; an empty one when there is none, or none with front matter."""
    cards = [path for path in inspection.scans if path.rsplit("/", 1)[-1].lower() in _CARDS]
    for path in sorted(cards, key=lambda path: (path.count("/"), _CARDS.index(path.rsplit("/", 1)[-1].lower()))):
        text = inspection.read_text(path)
        front = _front_matter(text) if text else ""
        if front:
            from model_approval.validators.security_scan.yaml_leaves import YamlError, leaves

            try:
                return _card(path, list(leaves(front)))
            except YamlError as err:
                inspection.gap(path, f"the card's front matter cannot be read: {err}")
    return ModelCard()


def _front_matter(text: str) -> str:
    """What stands between a first line `---` and the next; line numbers stay those of the file."""
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != "---":
        return ""
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), None)
    return "" if end is None else "\n".join(["", *lines[1:end]])


def _card(path: str, found: list[Leaf]) -> ModelCard:
    def values(key: str) -> tuple[str, ...]:
        listed = [_plain(leaf) for leaf in found if leaf.path[:1] == (key,) and len(leaf.path) <= 2]
        return tuple(dict.fromkeys(value for value in listed if value))[:_MAX_VALUES]

    def first(*path: str) -> str:
        return next((_plain(leaf) for leaf in found if leaf.path == path), "")

    lines = [leaf.line for leaf in found if leaf.path[:1] == ("license",)]
    return ModelCard(
        path=path,
        name=first("model_name") or first("model-index", "0", "name"),
        licences=values("license"),
        licence_name=first("license_name"),
        licence_line=lines[0] if lines else None,
        task=first("pipeline_tag"),
        library=first("library_name"),
        datasets=values("datasets"),
        base_models=values("base_model"),
    )


def _plain(leaf: Leaf) -> str:
    """Printable characters alone: escapes in YAML can spell what no document may hold, such as half a character."""
    return plain_line(leaf.value, limit=300)
