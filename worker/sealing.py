"""
Personal data travels and rests sealed: AES-256-GCM under a data key per person.

The data keys are wrapped by a key ring from a file; destroying a person's data key makes every copy of their
data unreadable, in topics and dead letters too. Hashes are keyed with a pepper, as every mobile number of a country
can be tried against a plain hash in minutes. The pepper never changes: every STOP is filed under it.
"""

import base64
import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from worker.errors import UnknownKey

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
