"""An example of a validator of your own: does the model card say what it must? Standard library only.

    model_card.py --work DIR --report FILE

Reads DIR/input.json and the files below DIR/artifact, writes its report to FILE. Exit 0: it looked, whatever it found.
The contract is in include/docs/custom-validators.md; `model-approval validator check` holds a validator to it.
"""

import argparse
import json
import sys
from pathlib import Path

DEFAULT_SECTIONS = ("Intended use", "Limitations", "Training data")


def headings(text: str) -> set[str]:
    """The headings of a Markdown text, in lower case."""
    return {line.lstrip("#").strip().casefold() for line in text.splitlines() if line.startswith("#")}


def look(root: Path, files: list[dict], parameters: dict) -> dict:
    """The report over an artifact."""
    wanted = parameters.get("sections", DEFAULT_SECTIONS)
    card = parameters.get("card", "docs/model_card.md")
    findings, coverage = [], []
    for entry in files:
        path = entry["path"]
        if path != card:
            # Said, not silently left out: whoever reads the evidence sees what this validator has nothing to say about.
            coverage.append({"path": path, "covered": False, "note": "no model card"})
            continue
        missing = [one for one in wanted if one.casefold() not in headings((root / path).read_text(encoding="utf-8"))]
        findings += [
            {
                "rule": "model-card.missing-section",
                "severity": "high",
                "file": path,
                "subject": one,
                "message": f"the model card has no section {one!r}",
                "advice": "write it, then register a new version",
            }
            for one in missing
        ]
        coverage.append({"path": path, "covered": True, "format": "markdown"})
    if not any(item["covered"] for item in coverage):
        message = f"there is no model card at {card}"
        findings.append({"rule": "model-card.missing", "severity": "high", "subject": card, "message": message})
    return {"findings": findings, "coverage": coverage, "environment": {"model_card_validator": "1.0"}}


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    given = parser.parse_args()
    try:
        told = json.loads((given.work / "input.json").read_text(encoding="utf-8"))
        report = look(given.work / "artifact", told["manifest"]["files"], told.get("parameters", {}))
    except (OSError, ValueError, KeyError, TypeError) as err:
        print(f"cannot work: {err}", file=sys.stderr)  # the last line is what the reviewer reads
        return 1
    given.report.write_text(json.dumps(report), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
