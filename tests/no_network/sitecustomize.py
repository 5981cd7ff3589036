"""No network but this machine's own: for the tests, and for each Python process that they start.

Python imports a module of this name when it starts, so it is enough that PYTHONPATH begins with this folder. conftest.py sees
to that; a test that sets PYTHONPATH itself takes `python_path` for it.
"""

import os
import sys

THIS_MACHINE = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::", "")


def stay_here(event: str, arguments: tuple) -> None:
    """An audit hook, which nothing can take off: whoever reaches for another machine gets an error that no code expects."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        host = arguments[1][0] if isinstance(arguments[1], tuple) else ""  # else a path, or one that is connected
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0] or ""
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in THIS_MACHINE and host != sys.modules["_socket"].gethostname():
        raise RuntimeError(
            f"a test reached for {host!r}: tests use no network but 127.0.0.1. Serve it with tests/fault_server.py."
        )


def python_path(*folders: object) -> str:
    """PYTHONPATH of a process that a test starts: this folder first, then those."""
    return os.pathsep.join([os.path.dirname(os.path.abspath(__file__)), *(str(folder) for folder in folders if folder)])


sys.addaudithook(stay_here)
