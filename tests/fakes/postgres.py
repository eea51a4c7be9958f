"""A throw-away Postgres on a free loopback port, and databases in it.

Postgres refuses to run as root: then it runs as user ``postgres``, in a directory which that user owns.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psycopg

INSTALL = "Postgres is missing: apt-get install postgresql"
START_SECONDS = 30.0


def find_binaries() -> Path | None:
    """Return the directory of ``initdb`` and ``postgres``, the newest version first."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    places = [*packaged, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((p for p in places if (p / "initdb").exists() and (p / "postgres").exists()), None)


class Server:
    """A running server. Nothing in it is meant to last."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = count(1)
        self._prepared: dict[Callable[[str], None], list[str]] = {}

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    @contextmanager
    def database(self, prepare: Callable[[str], None] | None = None) -> Iterator[str]:
        """Yield the URL of a database that nobody else uses: new and empty, or as ``prepare`` made it.

        A prepared one is emptied and used again, which takes a fifth of the time of a new one. Whoever changes its
        tables, not only its rows, asks for a new one.
        """
        idle = self._prepared.setdefault(prepare, []) if prepare else []
        if idle:
            name = idle.pop()
            self._execute(_EMPTY, name)
        else:
            name = f"test_{next(self._numbers)}"
            self._execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY FILE_COPY")
            if prepare:
                prepare(self.url(name))
        yield self.url(name)
        idle.append(name)

    def _execute(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())


_EMPTY = """
DO $$ BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    EXECUTE (
        SELECT 'TRUNCATE ' || string_agg(format('%I', tablename), ', ') || ' RESTART IDENTITY CASCADE'
        FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    );
END $$
"""


@contextmanager
def run(binaries: Path, *, durable: bool = False) -> Iterator[Server]:
    """Run a server until the end of the block; a ``durable`` one writes to the disk what a real one would."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
    try:
        create(binaries, folder)
        port = _free_port()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command(binaries, folder, port, durable=durable), stdout=log, stderr=log, cwd=folder
            )
        try:
            server = Server(port)
            _wait(server, process, folder / "log")
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # the fast shutdown, which does not wait for clients
            process.wait(START_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create(binaries: Path, folder: Path) -> None:
    """Make an empty cluster below ``folder``, which the user that runs it must be able to enter."""
    options = ["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
    initdb = [*_unprivileged(folder), binaries / "initdb", "-D", folder / "data", *options]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder)


def command(binaries: Path, folder: Path, port: int, *, durable: bool = False, **changed: str) -> list[str | Path]:
    """Return how the server of a cluster is started; it takes the place of the process that runs this."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "port": str(port),
        "fsync": "on" if durable else os.environ.get("PENSTOCK_TEST_POSTGRES_FSYNC", "off"),
        "full_page_writes": "on" if durable else "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "shared_buffers": "64MB",
        "max_connections": "100",
    } | changed
    options = (f"--{name}={value}" for name, value in settings.items())
    return [*_unprivileged(folder), binaries / "postgres", "-D", folder / "data", *options]


async def answers(url: str) -> bool:
    """Whether the server of a database lets somebody in now."""
    try:
        connection = await psycopg.AsyncConnection.connect(url, connect_timeout=2)
    except psycopg.OperationalError:
        return False
    await connection.close()
    return True


def _unprivileged(folder: Path) -> list[str]:
    if os.getuid() != 0:
        return []
    shutil.chown(folder, "postgres", "postgres")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(psycopg.OperationalError), psycopg.connect(server.url("postgres"), connect_timeout=1):
            return
        time.sleep(0.05)  # a server process starts in its own time
    raise RuntimeError(f"Postgres did not start: {log.read_text()}")
