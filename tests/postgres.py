"""A PostgreSQL of one's own on loopback: real, fsync on, thrown away afterwards."""

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from worker.demo.broker import free_port


def binaries() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`, the newest version's."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


def missing() -> str | None:
    """Return what is missing to run PostgreSQL here, or None."""
    return None if binaries() else "PostgreSQL needs initdb and pg_ctl"


class Postgres:
    """A server that can be stopped and started again on its data."""

    def __init__(self, data: Path, options: str = "") -> None:
        self._options = options
        self._bin = binaries()
        self._data = data
        self.port = free_port()
        self._databases = 0
        self._user = "postgres" if os.geteuid() == 0 else getpass.getuser()
        if os.geteuid() == 0:
            shutil.chown(data, "postgres", "postgres")
        self._run("initdb", "-D", str(data / "pg"), "-U", "sms", "--auth=trust", "-E", "UTF8", "--no-instructions")

    def _run(self, command: str, *arguments: str) -> None:
        # The server refuses to run as root; it must not inherit our pipes either.
        prefix = ["runuser", "-u", self._user, "--"] if os.geteuid() == 0 else []
        log = (self._data / "commands.log").open("ab")
        subprocess.run(
            [*prefix, str(self._bin / command), *arguments], check=True, cwd=self._data, stdout=log, stderr=log
        )

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._data} -c max_connections=200 {self._options}"
        self._run(
            "pg_ctl", "-D", str(self._data / "pg"), "-l", str(self._data / "server.log"), "-w", "-o", options, "start"
        )

    def require_passwords(self, user: str, password: str) -> None:
        """From now on let nobody in but with TLS and a password."""
        statement = f"ALTER USER {user} PASSWORD '{password}'"
        self._run("psql", "-h", str(self._data), "-p", str(self.port), "-U", "sms", "-d", "postgres", "-c", statement)
        (self._data / "pg" / "pg_hba.conf").write_text(
            "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
        )
        self._run("pg_ctl", "-D", str(self._data / "pg"), "reload")

    def take_certificate(self, tls: Path) -> None:
        """Show the certificate in *tls* from the next connection on."""
        for name in ("cert.pem", "key.pem"):
            shutil.copy(tls / name, self._data / name)
        if os.geteuid() == 0:
            shutil.chown(self._data / "key.pem", "postgres", "postgres")
        if (self._data / "pg" / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self._data / "pg"), "reload")

    def end_sessions(self) -> None:
        """Close every connection, as a server that is restarted does."""
        statement = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'sms'"
        )
        self._run("psql", "-h", str(self._data), "-p", str(self.port), "-U", "sms", "-d", "postgres", "-c", statement)

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self._data / "pg"), "-m", mode, "-w", "stop")

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        self._databases += 1
        name = f"sms_{self._databases}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "sms", name)
        return f"postgresql+asyncpg://sms@127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """Run a server until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="sms-pg-"))
    server = Postgres(folder)
    server.start()
    try:
        yield server
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
