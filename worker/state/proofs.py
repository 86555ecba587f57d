"""The proof of an act: the record that said so, whole, with its headers. Sealed by whoever keeps it."""

import base64
from typing import Any, NamedTuple

import orjson

from worker.records import Record

VERSION = 2  # the first was the record's value alone


class Proof(NamedTuple):
    """
    What a kept record says.

    Attributes:
        data: Of its event.
        headers: As text, where they are; empty in proofs of before.
    """

    data: dict[str, Any]
    headers: dict[str, str]


def proof_of(record: Record) -> bytes:
    """Return *record* as it is kept."""
    headers = [[name, _kept(value)] for name, value in record.headers]
    return orjson.dumps({"proof": VERSION, "value": _kept(record.value), "headers": headers})


def read_proof(kept: bytes) -> Proof | None:
    """Return what a kept record says; None if it cannot be read."""
    try:
        content, headers = orjson.loads(kept), {}
        if isinstance(content, dict) and content.get("proof") == VERSION:
            headers = {name: _given(value).decode(errors="replace") for name, value in content["headers"]}
            content = orjson.loads(_given(content["value"]))
    except (ValueError, TypeError, KeyError):
        return None
    if isinstance(content, dict) and "specversion" in content:  # structured mode keeps the data inside
        content = content.get("data")
    return Proof(content, headers) if isinstance(content, dict) else None


def _kept(value: bytes | None) -> str | dict[str, str]:
    """Return bytes as text, or what is no UTF-8 in base64."""
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value or b"").decode()}


def _given(kept: str | dict[str, str]) -> bytes:
    return kept.encode() if isinstance(kept, str) else base64.b64decode(kept["base64"])
