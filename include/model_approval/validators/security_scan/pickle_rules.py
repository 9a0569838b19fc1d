"""What a pickle's import means: harmless, dangerous, or not known, by the name and by what the pickle does with it."""

from __future__ import annotations

import logging
import sys
from _compat_pickle import IMPORT_MAPPING
from enum import StrEnum
from functools import cache
from typing import cast

from model_approval.validators.security_scan.allowed_globals import (
    CLASS_LISTED,
    is_allowed,
    is_listed_class,
    looks_like_class,
)
from model_approval.validators.security_scan.pickle_values import Import


class Standing(StrEnum):
    """What we hold of an import."""

    HARMLESS = "harmless"
    """On the allow-list, for what it is used for."""
    DANGEROUS = "dangerous"
    """Known to run commands, files or code of the sender's choice."""
    UNLISTED = "unlisted"
    """Called, and not on the list: a function, or a class of Python or of a library whose harmless parts we list."""
    UNKNOWN = "unknown"
    """Not called but only named or made in the ordinary way: only its authors can say what its loading does."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ALSO_DANGEROUS = _words(
    "_frozen_importlib _frozen_importlib_external _imp _io _posixsubprocess _pytest _thread _winapi _xxsubinterpreters "
    "antigravity asyncio atexit cffi cloudpickle codeop compileall concurrent ctypes dill distutils fabric fileinput "
    "ftplib gc genericpath glob http idlelib imp importlib inspect io ipykernel IPython jinja2 joblib keyring lib2to3 "
    "linecache marshal mmap multiprocessing nose ntpath nturl2path paramiko pexpect pickletools pipes pkg_resources "
    "platform plumbum popen2 poplib posixpath py_compile pydoc_data pytest requests resource sched select setuptools "
    "sh shelve signal site smtplib socketserver sqlite3 sysconfig tarfile telnetlib tempfile threading tracemalloc "
    "turtle urllib urllib2 urllib3 wheel xmlrpc yaml zipapp zipfile zipimport"
)
"""What picklescan does not list, being a label for known attacks: functions there run, load, fetch or delete."""
_DANGEROUS_BUILTINS = _words(
    "__build_class__ __import__ apply breakpoint classmethod compile delattr dir eval exec execfile exit file filter "
    "getattr globals hasattr help input locals map memoryview open property quit raw_input reduce reload setattr "
    "staticmethod super type vars"
)
_HARMLESS_TYPES = _words(
    "bool bytearray bytes complex dict ellipsis float frozenset int list NoneType NotImplementedType range set slice "
    "str tuple"
)
"""What dill may look up among Python's types by name; with code and function types a pickle builds programs."""


def standing_of(item: Import) -> Standing:
    """What we hold of an import. Never raises."""
    if item.named and item.named <= _HARMLESS_TYPES:
        return Standing.HARMLESS
    module = IMPORT_MAPPING.get(item.module, item.module)
    if is_allowed(item.module, item.name, called=item.called, made=item.made):
        return Standing.HARMLESS
    if _is_dangerous(item.module, item) or _is_dangerous(module, item):
        return Standing.DANGEROUS
    if not item.called:
        return Standing.UNKNOWN
    top = module.split(".", 1)[0]
    if is_listed_class(module, item.name):
        return Standing.UNKNOWN
    is_foreign_class = looks_like_class(item.name) and top not in sys.stdlib_module_names and top not in CLASS_LISTED
    return Standing.UNKNOWN if is_foreign_class else Standing.UNLISTED


def _is_dangerous(module: str, item: Import) -> bool:
    top = module.split(".", 1)[0]
    if _is_listed(module, item.name):
        return True
    if top in ("builtins", "__builtin__", "__builtins__"):
        return item.name.split(".", 1)[0] in _DANGEROUS_BUILTINS
    # Their classes hold data or handles; made in the ordinary way, without a constructor, they open nothing.
    return top in _ALSO_DANGEROUS and (item.called or not looks_like_class(item.name))


@cache
def _listed() -> dict[str, str | set[str]]:
    from picklescan import scanner

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)  # it logs each finding, we report them
    return cast("dict[str, str | set[str]]", scanner._unsafe_globals)


def _is_listed(module: str, name: str) -> bool:
    """Whether picklescan lists it, by module, parent module or name."""
    parts = module.split(".")
    parents = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    names = _listed().get(module, "")
    exact = name == names if isinstance(names, str) else name in names
    return exact or any(_listed().get(parent) == "*" for parent in parents)
