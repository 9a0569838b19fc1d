"""A process that is about to touch untrusted bytes locks itself in first.

Four locks, each reported as in force or missing with the reason, none of which needs privileges or a container:
resource limits, dropped capabilities, Landlock (files) and seccomp (system calls). Must run while the process has
one thread: Landlock binds the calling thread and those it starts later.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import os
import resource
import socket
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_approval.validators.contract import Bounds

_CLONE_THREAD = 0x00010000
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_DUMPABLE = 4

# Each of these leads around the other locks: sockets or files through io_uring, another process's memory, the kernel.
_FORBIDDEN = (
    "fork", "vfork", "execve", "execveat", "setsid", "setpgid",
    "io_uring_setup", "io_uring_enter", "io_uring_register",
    "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "pidfd_send_signal", "rt_sigqueueinfo",
    "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key",
    "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "open_by_handle_at",
    "init_module", "finit_module", "delete_module", "kexec_load",
)  # fmt: skip
_SYSTEM_READABLE = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/usr/local/cuda",
    "/proc/cpuinfo", "/proc/meminfo", "/proc/driver/nvidia", "/sys/devices", "/sys/bus/pci", "/sys/fs/cgroup/cpu.max",
    "/dev/null", "/dev/zero", "/dev/urandom",
)  # fmt: skip
_DEVICES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/null")


@dataclass(frozen=True)
class Reach:
    """Which files stay reachable."""

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]


def confine(bounds: Bounds, reach: Reach, *, cpu_s: int | None) -> dict[str, str]:
    """Lock this process in, for good.

    Args:
        bounds: How much it may use.
        reach: What it may read and write beside the interpreter and its libraries.
        cpu_s: Processor seconds of all its threads together; None: no end, for a server.

    Returns:
        For each lock (`confinement.<lock>`) `in force: ...` or `missing: <reason>`; part of the evidence.
    """
    locks: dict[str, Callable[[], str]] = {
        "limits": lambda: _limit_resources(bounds, cpu_s),
        "capabilities": _drop_capabilities,
        "landlock": lambda: _restrict_files(reach),
        "seccomp": lambda: _restrict_system_calls(bounds),
    }
    _import_locks()
    report = {}
    for name, lock in locks.items():
        try:
            report[f"confinement.{name}"] = f"in force: {lock()}"
        # Whatever a kernel, runtime or missing library makes of it: reported, never fatal, never silent.
        except (OSError, ImportError, ValueError, RuntimeError, AttributeError) as err:
            report[f"confinement.{name}"] = f"missing: {err}"
    return report


def _import_locks() -> None:
    """Import now: pyseccomp starts a program to find its library, which is impossible once the locks are on."""
    with contextlib.suppress(ImportError, RuntimeError, OSError):
        importlib.import_module("landlock")
        importlib.import_module("pyseccomp")


def import_locks_from(folder: Path) -> None:
    """Import the libraries of the locks, and nothing else, from another environment's folder of packages.

    For an interpreter that was made for a model and has no such libraries; both are pure Python without dependencies.
    """
    sys.path.append(str(folder))
    try:
        _import_locks()
    finally:
        sys.path.remove(str(folder))


def forbid_tracing() -> None:
    """Keep processes of the same user from reading this one's memory: it may hold a capability. Best effort."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _limit_resources(bounds: Bounds, cpu_s: int | None) -> str:
    wanted = {
        # DATA, not AS: runtimes reserve address space by the terabyte without using it.
        "data": (resource.RLIMIT_DATA, bounds.memory_bytes),
        "fsize": (resource.RLIMIT_FSIZE, bounds.file_bytes),
        "cpu": (resource.RLIMIT_CPU, resource.RLIM_INFINITY if cpu_s is None else cpu_s),
        "nofile": (resource.RLIMIT_NOFILE, bounds.open_files),
        "nproc": (resource.RLIMIT_NPROC, bounds.processes),
        "core": (resource.RLIMIT_CORE, 0),
    }
    for limit, value in wanted.values():
        hard = resource.getrlimit(limit)[1]
        if hard != resource.RLIM_INFINITY:
            value = hard if value == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    return " ".join(f"{name}={value}" for name, (_, value) in wanted.items())


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _drop_capabilities() -> str:
    """Root without capabilities is an ordinary user who owns root's files."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = _CapHeader(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    if libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())) != 0:
        raise OSError(ctypes.get_errno(), "capset refused")
    return "none held"


def _restrict_files(reach: Reach) -> str:
    from landlock import FSAccess, Ruleset, landlock_abi_version

    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"the process has {threads} threads already, Landlock would bind one of them")
    read_file, read_tree = (
        FSAccess.READ_FILE | FSAccess.EXECUTE,
        FSAccess.READ_FILE | FSAccess.EXECUTE | FSAccess.READ_DIR,
    )
    ruleset = Ruleset()
    for path in _existing((*_interpreter_folders(), *map(Path, _SYSTEM_READABLE), *reach.readable)):
        ruleset.allow(path, rules=read_tree if path.is_dir() else read_file)
    for path in _existing(map(Path, _DEVICES)):
        ruleset.allow(path, rules=FSAccess.READ_FILE | FSAccess.WRITE_FILE)
    for path in _existing(reach.writable):
        ruleset.allow(path, rules=ruleset.restrict_rules & ~(FSAccess.EXECUTE | _device_nodes(FSAccess)))
    ruleset.apply()
    _require_file_lock()
    return f"ABI {landlock_abi_version()}, {len(reach.readable)} inputs to read, {len(reach.writable)} folders to write"


def _device_nodes(access: type) -> object:
    return access.MAKE_CHAR | access.MAKE_BLOCK  # type: ignore[attr-defined]  # an IntFlag of an untyped library


def _require_file_lock() -> None:
    try:
        os.close(os.open("/etc/passwd", os.O_RDONLY))
    except OSError:
        return
    raise RuntimeError("the kernel took the rules, but /etc/passwd can still be read")


def _interpreter_folders() -> tuple[Path, ...]:
    package = Path(__file__).resolve().parents[1]
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return (package, Path(sys.prefix), *(Path(folder) for folder in sorted(folders)))


def _existing(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.exists()]


def _restrict_system_calls(bounds: Bounds) -> str:
    import pyseccomp

    refuse, absent = pyseccomp.ERRNO(errno.EPERM), pyseccomp.ERRNO(errno.ENOSYS)
    rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
    rules.set_attr(pyseccomp.Attr.CTL_TSYNC, 1)
    if bounds.tcp_sockets:
        for argument in _not_tcp(pyseccomp):
            rules.add_rule(refuse, "socket", argument)
    elif bounds.unix_sockets:
        rules.add_rule(refuse, "socket", pyseccomp.Arg(0, pyseccomp.NE, socket.AF_UNIX))
    else:
        rules.add_rule(refuse, "socket")
    for name in _FORBIDDEN:
        rules.add_rule(refuse, name)
    # Threads yes, processes no. clone3 hides its flags from filters; told it is absent, the C library uses clone.
    rules.add_rule(absent, "clone3")
    rules.add_rule(refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, 0))
    for name in ("kill", "tgkill"):
        rules.add_rule(refuse, name, pyseccomp.Arg(0, pyseccomp.NE, os.getpid()))
    rules.add_rule(refuse, "tkill")
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs refused")
    rules.load()
    sockets = "Unix sockets only" if bounds.unix_sockets else "no sockets"
    sockets = "TCP and Unix sockets only" if bounds.tcp_sockets else sockets
    return f"{sockets}, no new processes, no other process's memory"


def _not_tcp(pyseccomp: Any) -> list[Any]:  # noqa: ANN401  # the library ships no types
    """Arguments of `socket` that make anything else than a TCP or Unix stream.

    A filter compares an argument once in a rule, hence a rule for each family, type and protocol up to the last allowed
    one. MPTCP and SCTP are refused by protocol: Landlock's ports do not bind them.
    """
    families = [number for number in range(socket.AF_INET6) if number not in (socket.AF_UNIX, socket.AF_INET)]
    types = [number for number in range(16) if number != socket.SOCK_STREAM]
    protocols = [number for number in range(1, socket.IPPROTO_TCP)]
    return [
        *(pyseccomp.Arg(0, pyseccomp.EQ, number) for number in families),
        pyseccomp.Arg(0, pyseccomp.GT, socket.AF_INET6),
        *(pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xF, number) for number in types),
        *(pyseccomp.Arg(2, pyseccomp.EQ, number) for number in protocols),
        pyseccomp.Arg(2, pyseccomp.GT, socket.IPPROTO_TCP),
    ]
