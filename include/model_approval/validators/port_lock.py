"""A process allows itself TCP connections to one port and no more, by Landlock's network rules.

Source: linux/landlock.h and Documentation/userspace-api/landlock.rst; network rules are ABI 4 (Linux 6.7). The library
that we use for files knows none, hence the system calls themselves.
"""

from __future__ import annotations

import ctypes
import os

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
"""LANDLOCK_CREATE_RULESET_VERSION: tells the ABI and makes nothing."""
_BIND_TCP, _CONNECT_TCP = 1, 2
_RULE_NET_PORT = 2
_FIRST_ABI = 4


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64))


class _NetPortAttr(ctypes.Structure):
    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


def connect_only_to(port: int) -> str:
    """Give up every TCP port but one to connect to, and all to listen on; what is open stays open.

    Must run while the process has one thread, and after `no_new_privs` was set.

    Returns:
        `in force: ...`, or `missing: <reason>` where the kernel cannot.
    """
    try:
        abi = _call(_CREATE_RULESET, None, 0, _VERSION)
        if abi < _FIRST_ABI:
            return f"missing: Landlock ABI {abi} knows no ports, {_FIRST_ABI} is needed"
        rules = _RulesetAttr(0, _BIND_TCP | _CONNECT_TCP)
        ruleset = _call(_CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0)
        try:
            allowed = _NetPortAttr(_CONNECT_TCP, port)
            _call(_ADD_RULE, ruleset, _RULE_NET_PORT, ctypes.byref(allowed), 0)
            _call(_RESTRICT_SELF, ruleset, 0)
        finally:
            os.close(ruleset)
    except OSError as err:
        return f"missing: {err}"
    return f"in force: TCP port {port} alone"


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
