"""Names the environment that validators run in, as an image digest names an image.

`python -I -m model_approval.validators.environment` prints it.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
from pathlib import Path

from model_approval.domain.digests import digest_of


def environment_digest() -> str:
    """Digest over interpreter, every package's version and our own code."""
    # The folders `<name>-<version>.dist-info` tell as much as the metadata in them, in a fiftieth of the time.
    libraries = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    packages = sorted(path.name.lower() for library in libraries for path in library.glob("*.dist-info"))
    root = Path(__file__).resolve().parents[1]
    files = sorted(path for part in ("domain", "validators") for path in (root / part).rglob("*.py"))
    code = [f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return digest_of([platform.python_version(), *packages, *code])


if __name__ == "__main__":
    sys.stdout.write(environment_digest())
