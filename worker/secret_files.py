"""The key ring and the pepper as files: made on first run, rotated whole or not at all, as readable as before."""

import base64
import json
import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from worker.errors import ConfigurationError, Problem
from worker.sealing import KEY_BYTES, KeyRing, Pepper


def load_key_ring(path: Path, *, create: bool) -> KeyRing:
    """
    Read the key ring; make one on first run if *create*.

    The file is JSON: `{"current": "2026-11", "keys": {"2026-11": "<32 bytes, base64>"}}`.

    Raises:
        ConfigurationError: It is missing, and may not be made, or it does not read.
    """
    if create and not path.exists():
        content = {
            "current": "development",
            "keys": {"development": base64.b64encode(secrets.token_bytes(32)).decode()},
        }
        _write_secret(path, json.dumps(content, indent=2))
    return KeyRing(*read_key_ring(path))


def read_key_ring(path: Path) -> tuple[dict[str, bytes], str]:
    """
    Return the keys of a ring's file by name, and the current one's name.

    Raises:
        ConfigurationError: It is missing, or it does not read.
    """
    try:
        content = json.loads(path.read_text())
        keys, current = {name: base64.b64decode(key) for name, key in content["keys"].items()}, content["current"]
        KeyRing(keys, current)  # which says what is wrong with them
    except FileNotFoundError as error:
        message = "no such file; outside production `sms-worker run` makes it, for production see docs/deploying.md"
        raise ConfigurationError([Problem(str(path), None, "", message)]) from error
    except OSError as error:
        raise ConfigurationError([Problem(str(path), None, "", f"cannot be read: {error.strerror}")]) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = 'expected {"current": NAME, "keys": {NAME: 32 bytes in base64}}'
        raise ConfigurationError([Problem(str(path), None, "", message)]) from error
    return keys, current


def add_ring_key(path: Path, name: str) -> None:
    """
    Add a fresh key to the ring's file; the current one stays so until everybody knows the new one.

    Raises:
        ConfigurationError: The name is taken, or the file cannot be written.
    """
    content = json.loads(path.read_text())
    if name in content["keys"]:
        raise ConfigurationError([Problem(str(path), None, f"keys.{name}", "is there already; give another name")])
    content["keys"][name] = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    _replace_secret(path, json.dumps(content, indent=2))


def make_current(path: Path, name: str) -> None:
    """
    Let a key of the ring's file wrap whatever is wrapped from now on.

    Raises:
        ConfigurationError: It is not there, or the file cannot be written.
    """
    content = json.loads(path.read_text())
    if name not in content["keys"]:
        raise ConfigurationError([Problem(str(path), None, f"keys.{name}", "is not there")])
    _replace_secret(path, json.dumps({**content, "current": name}, indent=2))


def drop_ring_keys(path: Path, keep: Collection[str]) -> list[str]:
    """Take keys out of the ring's file that are neither current nor in *keep*; return their names."""
    content = json.loads(path.read_text())
    dropped = sorted(set(content["keys"]) - {*keep, content["current"]})
    if dropped:
        kept = {name: key for name, key in content["keys"].items() if name not in dropped}
        _replace_secret(path, json.dumps({**content, "keys": kept}, indent=2))
    return dropped


def _replace_secret(path: Path, text: str) -> None:
    """Replace the file whole or not at all; whoever could read it still can."""
    before = path.stat()
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, before.st_mode & 0o777)
            os.fchown(descriptor, before.st_uid, before.st_gid)
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except OSError as error:
        made.unlink(missing_ok=True)
        told = f"cannot be written: {error.strerror}; put the new key there yourself, and say --rewrap-only"
        raise ConfigurationError([Problem(str(path), None, "", told)]) from error


def load_pepper(path: Path, *, create: bool) -> Pepper:
    """
    Read the pepper; make one on first run if *create*.

    Raises:
        ConfigurationError: It is missing, and may not be made, or it is too short.
    """
    if create and not path.exists():
        _write_secret(path, secrets.token_urlsafe(32))
    try:
        return Pepper(path.read_text().strip().encode())
    except FileNotFoundError as error:
        message = "no such file; production needs a pepper: see docs/configuration.md"
        raise ConfigurationError([Problem(str(path), None, "", message)]) from error
    except ValueError as error:
        raise ConfigurationError([Problem(str(path), None, "", str(error))]) from error


def _write_secret(path: Path, text: str) -> None:
    """Make the file whole or not at all; of several processes that start at once, one makes it and the others read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
        with suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()
