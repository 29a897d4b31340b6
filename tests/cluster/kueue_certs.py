"""The certificate that Kueue wants at a path fixed in the program, even where it serves no metrics."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .certs import Identity

FOLDER = Path("/etc/kueue/metrics/certs")
# Names the control planes that use what was made here, one a line; not there: the files are another's.
_USERS = FOLDER / ".octjob-test-users"


class KueueCertsError(Exception):
    """The files are missing and may not be made; the message names the command that does."""


def claim(user: Path, identity: Identity) -> None:
    """See that the files exist, and remember that the control plane in folder `user` needs them.

    Raises:
        KueueCertsError: no right to write there.
    """
    crt, key = FOLDER / "tls.crt", FOLDER / "tls.key"
    if crt.exists() and not _USERS.exists():
        return
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        with _users() as users:
            if not crt.exists():
                shutil.copy(identity.cert, crt)
                shutil.copy(identity.key, key)
            users.add(str(user))
    except PermissionError as error:
        command = f"sudo install -d -o $USER {FOLDER}"
        raise KueueCertsError(f"Kueue needs {FOLDER}/tls.crt, which you may not make: {command}") from error


def release(user: Path) -> None:
    """Remove the files with the last control plane that needs them; harmless when none does."""
    if not _USERS.exists():
        return
    with _users() as users:
        users.discard(str(user))
        last = not users
    if last:
        for name in ("tls.crt", "tls.key", _USERS.name):
            (FOLDER / name).unlink(missing_ok=True)
        for folder in (FOLDER, FOLDER.parent, FOLDER.parent.parent):
            if any(folder.iterdir()):
                break
            folder.rmdir()


@contextmanager
def _users() -> Iterator[set[str]]:
    with _USERS.open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        users = set(handle.read().splitlines())
        yield users
        handle.seek(0)
        handle.truncate()
        handle.write("".join(f"{user}\n" for user in sorted(users)))
