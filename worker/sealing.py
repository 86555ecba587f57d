"""
Personal data travels and rests sealed: AES-256-GCM under a data key per person.

The data keys are wrapped by a key ring from a file; destroying a person's data key makes every copy of their
data unreadable, in topics and dead letters too. Hashes are keyed with a pepper, as every mobile number of a country
can be tried against a plain hash in minutes. The pepper never changes: every STOP is filed under it.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from worker.errors import ConfigurationError, Problem, UnknownKey

# A sealed value: version, id of the data key, nonce, ciphertext with its 16-byte tag (NIST SP 800-38D).
VERSION = b"\x01"
KEY_ID_BYTES, NONCE_BYTES, KEY_BYTES = 8, 12, 32
MOST_UNWRAPPED = 10_000
OVERHEAD_BYTES = 1 + KEY_ID_BYTES + NONCE_BYTES + 16


class Erased(Exception):
    """The key that sealed this value is gone, and the value with it."""


class Pepper:
    """
    Names people without telling who they are.

    Args:
        secret: At least 16 bytes that nobody else knows.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise ValueError("a pepper needs at least 16 bytes")
        self._secret = hashlib.blake2b(secret, digest_size=32).digest()

    def name(self, kind: str, value: str) -> str:
        """Return the keyed hash of *value* as 22 characters; *kind* keeps a number and a contact id apart."""
        digest = hashlib.blake2b(f"{kind}:{value}".encode(), key=self._secret, digest_size=16).digest()
        return base64.urlsafe_b64encode(digest)[:22].decode()

    @property
    def fingerprint(self) -> str:
        """What the database keeps to recognise this pepper by."""
        return hashlib.sha256(b"sms-worker pepper:" + self._secret).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class DataKey:
    """
    A person's key, unwrapped.

    Attributes:
        subject: The keyed hash it belongs to; sealed into every value, so that none can be passed off as another's.
        key_id: Told apart from an earlier key of the same person.
    """

    subject: str
    key_id: bytes
    cipher: AESGCM

    def seal(self, plain: bytes) -> bytes:
        """Encrypt *plain*."""
        nonce = os.urandom(NONCE_BYTES)
        return VERSION + self.key_id + nonce + self.cipher.encrypt(nonce, plain, self.subject.encode())

    def open(self, sealed: bytes) -> bytes:
        """
        Decrypt what `seal` made.

        Raises:
            Erased: It was sealed under a key that is gone, or is no value of this person.
        """
        if key_id_of(sealed) != self.key_id:
            raise Erased
        nonce = sealed[1 + KEY_ID_BYTES : 1 + KEY_ID_BYTES + NONCE_BYTES]
        try:
            return self.cipher.decrypt(nonce, sealed[1 + KEY_ID_BYTES + NONCE_BYTES :], self.subject.encode())
        except InvalidTag as error:
            raise Erased from error


def key_id_of(sealed: bytes) -> bytes:
    """Return the id of the key that *sealed* was made with."""
    if sealed[:1] != VERSION or len(sealed) < OVERHEAD_BYTES:
        raise Erased
    return sealed[1 : 1 + KEY_ID_BYTES]


class KeyRing:
    """
    Wraps data keys.

    Args:
        keys: Ring keys by name, 32 bytes each; old ones stay to unwrap.
        current: The one that wraps new data keys.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self._keys = dict(keys)
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        # Found only with the row's own bytes: a person whose row is gone is forgotten all the same.
        self._unwrapped: dict[tuple[str, bytes, bytes], DataKey] = {}
        self.current = current
        if current not in self._ciphers:
            raise ValueError(f"the current key {current!r} is not among the keys")

    @property
    def names(self) -> list[str]:
        """Names of its keys."""
        return sorted(self._keys)

    def renew(self, keys: Mapping[str, bytes], current: str) -> None:
        """Take a rotated ring over; what was known stays, as it may be needed until all is wrapped anew."""
        if current not in keys:
            raise ValueError(f"the current key {current!r} is not among the keys")
        self._ciphers |= {name: AESGCM(key) for name, key in keys.items() if self._keys.get(name) != key}
        self._keys |= keys
        self.current = current

    def rewrap(self, subject: str, key_id: bytes, ring_key: str, wrapped: bytes) -> bytes:
        """
        Return a data key as the current key wraps it.

        Raises:
            UnknownKey: The ring lacks the key that wrapped it.
        """
        plain = self._plain(subject, key_id, ring_key, wrapped)
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[self.current].encrypt(nonce, plain, subject.encode() + key_id)

    def _plain(self, subject: str, key_id: bytes, ring_key: str, wrapped: bytes) -> bytes:
        cipher = self._ciphers.get(ring_key)
        if cipher is None:
            raise UnknownKey(f"the key ring lacks {ring_key!r}, which wraps a data key; put it back")
        return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], subject.encode() + key_id)

    def new_key(self, subject: str) -> tuple[DataKey, str, bytes]:
        """Return a fresh data key for *subject*, the ring's key that wraps it, and how it rests in the database."""
        current = self.current
        key = secrets.token_bytes(KEY_BYTES)
        key_id = secrets.token_bytes(KEY_ID_BYTES)
        nonce = os.urandom(NONCE_BYTES)
        wrapped = nonce + self._ciphers[current].encrypt(nonce, key, subject.encode() + key_id)
        return DataKey(subject, key_id, AESGCM(key)), current, wrapped

    def unwrap(self, subject: str, key_id: bytes, ring_key: str, wrapped: bytes) -> DataKey:
        """
        Return the data key of a row.

        Raises:
            UnknownKey: The ring lacks the key that wrapped it; another process may have it by now.
        """
        place = (subject, key_id, wrapped)
        if (cached := self._unwrapped.get(place)) is not None:
            return cached
        plain = self._plain(subject, key_id, ring_key, wrapped)
        if len(self._unwrapped) >= MOST_UNWRAPPED:
            self._unwrapped.clear()
        key = self._unwrapped[place] = DataKey(subject, key_id, AESGCM(plain))
        return key


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
        message = "no such file; production needs a key ring: see docs/configuration.md"
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
