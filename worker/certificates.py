"""When the certificates that Kafka and PostgreSQL are reached with end: a metric, before anybody is refused."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog
from cryptography import x509

from worker.servers import DatabaseSettings, KafkaSettings
from worker.telemetry import metrics

log = structlog.get_logger(__name__)


class Certificates:
    """Looks at the files of certificates, and tells when the first of each ends."""

    def __init__(self, kafka: KafkaSettings, database: DatabaseSettings) -> None:
        paths = {
            "kafka.ca_file": kafka.ca_file if "SSL" in kafka.security_protocol else None,
            "kafka.cert_file": kafka.cert_file if "SSL" in kafka.security_protocol else None,
            "database.ca_file": database.ca_file,
        }
        self._paths: Mapping[str, Path] = {name: path for name, path in paths.items() if path is not None}
        self._told: dict[str, bytes] = {}

    async def look(self) -> None:
        """Read the files; one that is away or does not read leaves what was told."""
        for name, path in self._paths.items():
            try:
                content = await asyncio.to_thread(path.read_bytes)
                if content != self._told.get(name):
                    metrics.CERTIFICATE_ENDS.labels(name).set(ends_at(content))
                    self._told[name] = content
            except (OSError, ValueError) as error:
                log.warning("certificate.unreadable", file=str(path), error=type(error).__name__)


def ends_at(pem: bytes) -> float:
    """
    Return when the first certificate of a PEM file ends, in seconds since 1970.

    Raises:
        ValueError: There is none, or it does not read.
    """
    return min(one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(pem))
