"""A validator over a folder that nobody has pinned yet: it is hashed while the validator already works.

    python -I -m model_approval.validators.unpinned --artifact PATH --validator NAME --work DIR --order FILE

For `model-approval scan` and `benchmark`. In a promotion the bytes are pinned first, and the supervisor is given their
manifest. Here this process makes the manifest itself, in threads, from the moment it starts; it never parses a byte of
the artifact, and the validator's process gets the digests when it asks for them. Evidence as `supervisor` writes it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model_approval.domain.folders import FolderError, FolderHashing


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="model_approval.validators.unpinned", description=__doc__)
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--validator", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--order", type=Path, required=True)
    given = parser.parse_args(argv)
    sys.setswitchinterval(0.0005)  # what is imported below must not keep the hashing waiting
    try:
        hashing = FolderHashing(given.artifact.resolve())
    except (FolderError, OSError) as err:
        sys.stderr.write(f"{given.artifact} cannot be an artifact: {err}\n")
        return 2
    # The hashing goes on in its threads while all the rest is imported.
    from model_approval.validators.unpinned_run import run_unpinned

    return run_unpinned(hashing, given.validator, given.work, given.order)


if __name__ == "__main__":
    sys.exit(main())
