"""Puts the hostile validator in place of the security scan, in every interpreter of the test image."""

import contextlib

with contextlib.suppress(ImportError):  # while the image is built, and in interpreters that have other things to do
    from hostile import Hostile  # type: ignore[import-not-found]  # beside it in the image

    from model_approval.validators import registry

    registry.VALIDATORS["security_scan"] = registry.Entry(version="hostile", covers_every_file=True, make=Hostile)  # type: ignore[index]
