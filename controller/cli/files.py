"""The data folder of a machine: made for its owner alone, with the secret that controller and proxy share."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.errors import StartupError

CONTROL_TOKEN_FILE = "control.token"  # noqa: S105 - the name of a file
LOCK_FILE = "serve.lock"


def make_data_dir(folder: Path) -> None:
    """Make the folder, readable by its owner only; an existing one is left as it is."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"the data folder {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(f"the data folder {folder} cannot be written to")


def control_token(folder: Path) -> str:
    """Return the secret kept in the folder; the first call makes it."""
    path = folder / CONTROL_TOKEN_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        kept = path.read_text(encoding="ascii").strip()
        if kept:
            return kept
        path.unlink()  # a crash came between making and filling it
        return control_token(folder)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        token = secrets.token_urlsafe(32)
        file.write(f"{token}\n")
    return token


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder: two supervisors on one database would fight over it. The kernel lets go when the holder dies."""
    with (folder / LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartupError(f"another `penstock serve` uses the data folder {folder}") from error
        yield
