"""How Kafka and the state store are reached, and how their secrets are read."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr

from worker.config_files import Config
from worker.errors import ConfigurationError, Problem

_last: dict[Path, str] = {}


def read_password_again(path: Path, field: str) -> str:
    """Return the password in *path*; what it was last, if the file is away for a moment, or empty."""
    try:
        _last[path] = read_password(path, field)
    except ConfigurationError:
        if path not in _last:
            raise
    return _last[path]


def read_password(path: Path, field: str) -> str:
    """
    Return the password in *path*, without the line's end.

    Raises:
        ConfigurationError: It cannot be read, or is empty.
    """
    try:
        found = path.read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        told = f"{path} cannot be read: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}"
        raise ConfigurationError([Problem("worker.yaml", None, field, told)]) from error
    if not found:
        raise ConfigurationError([Problem("worker.yaml", None, field, f"{path} is empty")])
    return found


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        told = f"{path} cannot be read: {error.strerror}"
        raise ConfigurationError([Problem("worker.yaml", None, field, told)]) from error


class KafkaSettings(Config):
    """
    Where Kafka is.

    Attributes:
        bootstrap_servers: `host:port`, several parted by commas.
        security_protocol: How to reach it.
        sasl_mechanism: With a SASL protocol.
        username: For SASL.
        password: For SASL; in the environment, if anywhere.
        password_file: The same in a file, which is read again when it changes.
        ca_file: Certificates to trust with TLS; the system's where it is missing. This and the next two are read again when
            they change.
        cert_file: With TLS, by which certificate the broker knows us; *key_file* has its key.
        key_file: PEM.
        embedded: The broker is the embedded one of the demo and tests; it polls instead of waking fetches.
        prefix: Of the worker's own topics and groups.
        replication: Copies of the topics that `topics create` makes; production needs 3.
        session_timeout_s: After so long without a heartbeat a process counts as dead; the urgent ones take 10.
        commit_every_s: How often finished offsets are committed.
    """

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    embedded: bool = False
    prefix: str = Field(default="sms", pattern=r"^[a-z][a-z0-9_-]*$")
    replication: int = Field(default=1, ge=1)
    session_timeout_s: float = Field(default=30, ge=6, le=300)
    commit_every_s: float = Field(default=1, ge=0.05, le=30)

    def read_password(self) -> str | None:
        """
        Return the password for SASL as it is now.

        Raises:
            ConfigurationError: Its file cannot be read.
        """
        if self.password_file is not None:
            return read_password_again(self.password_file, "kafka.password_file")
        return self.password.get_secret_value() if self.password else None

    def read_certificates(self) -> tuple[bytes, ...]:
        """
        Return what the files of certificates hold now; nothing where no TLS is spoken.

        Raises:
            ConfigurationError: One cannot be read.
        """
        if "SSL" not in self.security_protocol:
            return ()
        return tuple(
            _read(path, f"kafka.{name}")
            for name in ("ca_file", "cert_file", "key_file")
            if (path := getattr(self, name)) is not None
        )

    def tls(self) -> ssl.SSLContext:
        """
        Return how the broker is trusted, and by what it knows us.

        Raises:
            ConfigurationError: A file of it cannot be read.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            told = f"ca_file, cert_file or key_file: {error.strerror or error}"
            raise ConfigurationError([Problem("worker.yaml", None, "kafka", told)]) from error
        return context


class DatabaseSettings(Config):
    """
    The state store.

    Attributes:
        url: `sqlite+aiosqlite:///file` for exactly one process, `postgresql+asyncpg://…` for many.
        password_file: The password in a file, which each new connection reads.
        ca_file: Certificates to trust; with it, the server must prove with TLS that it is the host of the URL. Each new
            connection reads it.
        pool: Connections of one process to PostgreSQL; an urgent sender has three more for itself.
        statement_timeout_s: After so long a statement counts as unanswered, and is asked again.
    """

    url: SecretStr = SecretStr("sqlite+aiosqlite:///.data/state.db")
    password_file: Path | None = None
    ca_file: Path | None = None
    pool: int = Field(default=12, ge=3, le=100)
    statement_timeout_s: float = Field(default=10, gt=0)

    def connect_args(self) -> dict[str, Any]:
        """
        Return what the driver of PostgreSQL needs beside the URL.

        Raises:
            ConfigurationError: The certificates cannot be read.
        """
        options: dict[str, Any] = {}
        if (path := self.password_file) is not None:
            read: Callable[[], str] = lambda: read_password_again(path, "database.password_file")  # noqa: E731
            options["password"] = read
        if (trusted := self.tls()) is not None:
            options["ssl"] = trusted
        return options

    def tls(self) -> ssl.SSLContext | None:
        """
        Return how the server is trusted; None if it need not prove anything.

        Raises:
            ConfigurationError: The certificates cannot be read.
        """
        if self.ca_file is None:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            told = f"{self.ca_file}: {error.strerror or error}"
            raise ConfigurationError([Problem("worker.yaml", None, "database.ca_file", told)]) from error
