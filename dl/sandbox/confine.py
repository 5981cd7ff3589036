"""What a process that runs a student's code may not do, in layers; each holds without the others.

limits       CPU time, memory, size of files, open files, processes                     every POSIX system
seccomp      no new process, program, socket or mount; no signal to, or look into, another process       Linux
landlock     reads only what it was given, writes only its own temporary folder, no TCP, no signals out   Linux 5.13
namespaces   no network, no other processes, no other files, a temporary folder of bounded size           where allowed
seatbelt     no network, writes only its own temporary folder, starts nothing, signals nobody             macOS, untried

The functions call the kernel directly: they run in a process that has to be ready at once, or was just forked.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform == "linux"
LAYERS = ("seatbelt",) if sys.platform == "darwin" else ("namespaces", "landlock", "seccomp")  # wanted, beside limits
MOST_FILE, MOST_FILES, MOST_PROCESSES = 2**26, 64, 64  # bytes of a file; open files; processes and threads
TMPFS = b"size=64m,nr_inodes=4096,mode=700"
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER = 1, 38, 22, 36
NEW_USER, NEW_MOUNTS, NEW_NET, NEW_IPC, NEW_PIDS = 0x10000000, 0x20000, 0x40000000, 0x8000000, 0x20000000
MS_BIND, MS_PRIVATE, MS_REC, MNT_DETACH = 4096, 1 << 18, 16384, 2


@dataclass(frozen=True)
class Limits:
    """Of one exercise: CPU seconds, seconds on the clock, bytes beyond those of a process with torch loaded."""

    cpu: int = 20
    wall: float = 80.0
    memory: int = 4 * 2**30


def limit(limits: Limits, strict: bool) -> None:
    """Set the limits of this process. `strict` also limits files and processes."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_CPU, limits.cpu)
    if LINUX:
        pages = int(Path("/proc/self/statm").read_text().split()[0]) if os.path.exists("/proc/self/statm") else 2**21
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + limits.memory)
    if strict:
        _lower(resource.RLIMIT_FSIZE, MOST_FILE)
        _lower(resource.RLIMIT_NOFILE, MOST_FILES)
        _lower(resource.RLIMIT_NPROC, MOST_PROCESSES)


def _lower(kind: int, value: int) -> None:
    import resource

    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def die_with_parent() -> None:
    """End this process when the one that forked it ends (Linux)."""
    if LINUX:
        _call(_libc().prctl, PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of every process below whose own parent ends, so that none gets away (Linux)."""
    if LINUX:
        _call(_libc().prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def drop_privileges() -> None:
    """Give up every capability, for good."""
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _call(_libc().prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(_libc().capset, header, nothing)


def enter_namespaces(temporary: str, hidden: Sequence[str]) -> None:
    """Leave network, users, files and processes of the host; the next child is process 1 of its own world.

    To be called while this process has one thread.

    Args:
        temporary: an empty folder; a bounded one in memory takes its place. hidden: what is not to be seen.
    Raises:
        OSError: where the kernel does not allow it.
    """
    user, group = os.getuid(), os.getgid()
    _call(_libc().unshare, NEW_USER | NEW_MOUNTS | NEW_NET | NEW_IPC | NEW_PIDS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    for path in hidden:
        if os.path.isdir(path):
            _mount("tmpfs", path, "tmpfs", 0, b"size=4k,mode=500")
        elif os.path.exists(path):
            _mount("/dev/null", path, None, MS_BIND)
    fresh_folder(temporary)


def fresh_processes() -> None:
    """Let /proc show the processes of this namespace only; none, where that is not allowed."""
    try:
        _mount("proc", "/proc", "proc", 0)
    except OSError:
        _mount("tmpfs", "/proc", "tmpfs", 0, b"size=4k")


def fresh_folder(path: str, again: bool = False) -> None:
    """Put an empty folder in memory, of bounded size, in the place of this one."""
    if again:
        _call(_libc().umount2, path.encode(), MNT_DETACH)
    _mount("tmpfs", path, "tmpfs", 0, TMPFS)


def landlock_version() -> int:
    """Version of Landlock in this kernel, 0 without."""
    return max(0, _libc().syscall(444, None, ctypes.c_size_t(0), 1)) if LINUX else 0


READ = 1 << 2 | 1 << 3  # files and folders; no right to execute
WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | READ  # write, remove and make files and folders
ON_FILES = 1 << 1 | 1 << 2 | 1 << 14


def restrict_paths(readable: Iterable[str], writable: Iterable[str]) -> None:
    """From now on this process reads and writes only below these paths, opens no TCP, and signals nobody outside.

    Raises:
        OSError: without Landlock.
    """
    version = landlock_version()
    files = (1 << (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)) - 1
    attributes = struct.pack("QQQ", files, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _call(_libc().syscall, 444, attributes, ctypes.c_size_t(len(attributes)), 0)
    for paths, rights in ((readable, READ), (writable, WRITE | (1 << 14 if version >= 3 else 0))):
        for path in paths:
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            kept = rights if os.path.isdir(path) else rights & ON_FILES
            _call(_libc().syscall, 445, ruleset, 1, struct.pack("=Qi", kept, place), 0)
            os.close(place)
    _call(_libc().prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(_libc().syscall, 446, ruleset, 0)
    os.close(ruleset)


MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # audit number, column of the tables
REFUSED = {  # system calls by their numbers on each machine; -1: not there
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "socketpair": (53, 199), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "perf_event_open": (298, 241), "bpf": (321, 280), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104),
}  # fmt: skip
ON_ITSELF = {"tgkill": (234, 131), "prlimit64": (302, 261)}  # allowed where the first argument is this process
CLONE, CLONE3, THREAD = (56, 220), 435, 0x10000
ALLOW, REFUSE, UNKNOWN, KILL = 0x7FFF0000, 0x50000 | 1, 0x50000 | 38, 0x80000000


def restrict_calls() -> None:
    """From now on the system calls of `REFUSED` are refused with "not permitted", and so are new processes.

    Raises:
        OSError: if this kernel or machine has no such filter.
    """
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if not LINUX or machine not in MACHINES:
        raise OSError(f"no filter of system calls for {sys.platform} on {machine}")
    audit, column = MACHINES[machine]
    refused, on_itself = ([numbers[column] for numbers in table.values()] for table in (REFUSED, ON_ITSELF))
    program = _filter(audit, [number for number in refused if number >= 0], on_itself, CLONE[column])
    code = ctypes.create_string_buffer(b"".join(program), 8 * len(program))
    header = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    _call(_libc().prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(_libc().prctl, PR_SET_SECCOMP, 2, header, 0, 0)


def _filter(audit: int, refused: Sequence[int], on_itself: Sequence[int], clone: int) -> list[bytes]:
    """The program for the kernel: each line (operation, jump if true, jump if false, value)."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    number_of_call, machine, first_argument = 0, 4, 16
    lines = [
        (load, 0, 0, machine),
        (equal, 1, 0, audit),
        (give, 0, 0, KILL),
        (load, 0, 0, number_of_call),
        (at_least, 0, 1, 0x40000000),  # the numbers of x32
        (give, 0, 0, REFUSE),
    ]
    for number in refused:
        lines += [(equal, 0, 1, number), (give, 0, 0, REFUSE)]
    for number in on_itself:
        allowed = [(equal, 1, 0, 0), (equal, 0, 1, os.getpid()), (give, 0, 0, ALLOW), (give, 0, 0, REFUSE)]
        lines += [(equal, 0, 5, number), (load, 0, 0, first_argument), *allowed]
    lines += [(equal, 0, 1, CLONE3), (give, 0, 0, UNKNOWN)]  # glibc then takes clone, whose flags can be read
    lines += [(equal, 0, 3, clone), (load, 0, 0, first_argument), (any_bit, 1, 0, THREAD), (give, 0, 0, REFUSE)]
    lines += [(give, 0, 0, ALLOW)]
    return [struct.pack("HBBI", *line) for line in lines]


def seatbelt(temporary: str, hidden: Sequence[str]) -> list[str]:
    """The command that confines the one after it on macOS; [] where there is no `sandbox-exec`.

    Args:
        temporary: the only writable folder. hidden: what is not to be read.
    """
    program = shutil.which("sandbox-exec")
    rules = ["(version 1)", "(allow default)", "(deny network*)", "(deny process-fork)", "(deny signal (target others))"]
    rules += ["(deny file-write*)", f"(allow file-write* (subpath {_quoted(temporary)}) (literal {_quoted(os.devnull)}))"]
    rules += [f"(deny file-read* (subpath {_quoted(path)}))" for path in hidden]
    return [program, "-p", "\n".join(rules)] if program else []


def _quoted(path: str) -> str:
    """A path in a profile of macOS, its links followed: the kernel compares where they lead."""
    return '"' + os.path.realpath(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def network_is_refused() -> bool:
    """Whether this process may not even open a port of its own machine."""
    try:
        with socket.socket() as opened:
            opened.bind(("127.0.0.1", 0))
    except PermissionError:
        return True
    return False


def holds(action: Callable[[], object]) -> bool:
    """Whether a forked process does this without an error: how a layer is tried before it is relied on."""
    process = os.fork()
    if process == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(process, 0)[1] == 0


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: bytes | None = None) -> None:
    coded = [text.encode() if text is not None else None for text in (source, target, kind)]
    _call(_libc().mount, *coded, ctypes.c_ulong(flags), options)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(function: Callable[..., int], *arguments) -> int:
    result = function(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
