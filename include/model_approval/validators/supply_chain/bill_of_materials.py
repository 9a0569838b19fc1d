"""The bill of materials: CycloneDX 1.6 (ML-BOM) of the model, its files, its training data and what it needs.

Written as plain JSON, since the CycloneDX library cannot write model cards; its own validator checks ours in the tests.
The same artifact gives the same bytes: no time, and a serial number made of the content.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, metadata
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import JsonValue

from model_approval.domain.evidence import Attachment
from model_approval.domain.manifest import ArtifactManifest
from model_approval.validators.supply_chain.inspection import Inspection
from model_approval.validators.supply_chain.licences import Licence, parse_expression
from model_approval.validators.supply_chain.model_card import ModelCard

if TYPE_CHECKING:
    from model_approval.validators.security_scan.dependencies import Declared

NAME = "sbom.cdx.json"
_MEDIA_TYPE = "application/vnd.cyclonedx+json"
_MAX_CHARS = 8 * 1024**2
"""What an attachment may have; about 20,000 files."""
_MODEL = "model"

Json = dict[str, JsonValue]


def attach_bill(inspection: Inspection, card: ModelCard, licence: Licence, declared: Sequence[Declared]) -> None:
    """Add the bill of materials to the report."""
    files = _files(inspection)
    text = _text(bill_of_materials(inspection, card, licence, declared, files))
    if len(text) > _MAX_CHARS:  # the manifest lists the files as well, and the bill still counts them
        text = _text(bill_of_materials(inspection, card, licence, declared, []))
    inspection.attachments.append(Attachment(name=NAME, media_type=_MEDIA_TYPE, text=text))


def bill_of_materials(
    inspection: Inspection, card: ModelCard, licence: Licence, declared: Sequence[Declared], files: Sequence[Json]
) -> Json:
    """The document, as the schema of CycloneDX 1.6 has it."""
    manifest = inspection.task.input.manifest
    libraries = _libraries(declared)
    components = [*files, *_data(card), *libraries]
    body: Json = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "model-approval security scan"}]},
            "component": _model(inspection, card, licence, manifest),
        },
        "components": list[JsonValue](components),
        "dependencies": [{"ref": _MODEL, "dependsOn": [str(one["bom-ref"]) for one in libraries]}],
    }
    content = json.dumps(body, sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, content).urn,
        **body,
    }


def _model(inspection: Inspection, card: ModelCard, licence: Licence, manifest: ArtifactManifest) -> Json:
    parameters: Json = {}
    if card.task:
        parameters["task"] = card.task
    if card.datasets:
        parameters["datasets"] = [{"ref": _data_ref(name)} for name in card.datasets]
    properties: list[JsonValue] = [
        {"name": "model-approval:artifact-digest", "value": manifest.artifact_digest},
        {"name": "model-approval:files", "value": str(len(manifest.files))},
    ]
    if card.library:
        properties.append({"name": "model-approval:library", "value": card.library})
    component: Json = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": inspection.parameters.model or card.name or "unnamed",
        "properties": properties,
    }
    if inspection.parameters.model_version:
        component["version"] = inspection.parameters.model_version
    if licences := _licences(licence):
        component["licenses"] = licences
    if parameters:
        component["modelCard"] = {"modelParameters": parameters}
    if card.base_models:
        ancestors: list[JsonValue] = [{"type": "machine-learning-model", "name": name} for name in card.base_models]
        component["pedigree"] = {"ancestors": ancestors}
    return component


def _licences(licence: Licence) -> list[JsonValue]:
    """An expression alone, or named licences: the schema allows no mixture."""
    if licence.expression and not licence.claimed:
        return [{"expression": licence.expression}]
    return [{"license": {"name": name}} for name in filter(None, (licence.expression, *licence.claimed))]


def _text(document: Json) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _files(inspection: Inspection) -> list[Json]:
    return [
        {
            "type": "file",
            "bom-ref": f"file:{entry.path}",
            "name": entry.path,
            "hashes": [{"alg": "SHA-256", "content": entry.sha256}],
            "properties": [
                {"name": "model-approval:format", "value": inspection.scans[entry.path].format},
                {"name": "model-approval:size-bytes", "value": str(entry.size_bytes)},
            ],
        }
        for entry in inspection.task.input.manifest.files
        if entry.path in inspection.scans
    ]


def _data(card: ModelCard) -> Iterable[Json]:
    for name in card.datasets:
        yield {
            "type": "data",
            "bom-ref": _data_ref(name),
            "name": name,
            "data": [{"type": "dataset", "name": name}],
        }


def _data_ref(name: str) -> str:
    return f"data:{name}"


def _libraries(declared: Sequence[Declared]) -> list[Json]:
    found: dict[str, Json] = {}
    for one in declared:
        version = f"@{quote(one.version, safe='')}" if one.version else ""
        purl = f"pkg:{one.ecosystem.lower()}/{quote(one.name, safe='')}{version}"
        library: Json = {"type": "library", "bom-ref": purl, "name": one.name, "purl": purl}
        if one.version:
            library["version"] = one.version
        elif one.specifier:
            library["properties"] = [{"name": "model-approval:specifier", "value": one.specifier}]
        if licence := _licence_of(one):
            library["licenses"] = [{"expression": licence}]
        found.setdefault(purl, library)
    return [found[purl] for purl in sorted(found)]


def _licence_of(declared: Declared) -> str:
    """From the metadata of the same release, where this environment happens to hold it; nothing is fetched."""
    if declared.ecosystem != "PyPI" or not declared.version:
        return ""
    try:
        known = metadata(declared.name)
    except (PackageNotFoundError, ValueError):
        return ""
    if known["Version"] != declared.version:
        return ""
    stated = next((str(known[key]) for key in ("License-Expression", "License") if key in known), "")
    parsed = parse_expression(stated) if 0 < len(stated) < 100 else None
    return parsed.expression if parsed else ""
