"""Personal data sealed; dead letters restored to the byte; ids that give nothing away."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import PEPPER, RING, record
from worker.errors import ConfigurationError, UnknownKey, DeadLetterReason, PermanentError
from worker.results import dead_letter, restore
from worker.records import Record
from worker.sealing import Erased, KeyRing, Pepper
from worker.secret_files import load_key_ring, load_pepper


def test_what_is_sealed_opens_with_its_key_and_with_no_other() -> None:
    key, _, _ = RING.new_key("p-1")
    sealed = key.seal(b"+33612345678")

    assert key.open(sealed) == b"+33612345678"
    assert b"33612345678" not in sealed
    with pytest.raises(Erased):
        RING.new_key("p-1")[0].open(sealed)


def test_a_value_cannot_be_passed_off_as_another_person_s() -> None:
    key, _, wrapped = RING.new_key("p-1")
    stolen = RING.unwrap("p-1", key.key_id, "test", wrapped)
    object.__setattr__(stolen, "subject", "p-2")

    with pytest.raises(Erased):
        stolen.open(key.seal(b"x"))


def test_after_rotation_the_old_key_still_unwraps() -> None:
    key, _, wrapped = RING.new_key("p-1")
    rotated = KeyRing({"test": bytes(range(32)), "new": bytes(32)}, "new")

    assert rotated.unwrap("p-1", key.key_id, "test", wrapped).open(key.seal(b"x")) == b"x"


def test_a_ring_that_lacks_a_key_says_which() -> None:
    key, _, wrapped = RING.new_key("p-1")

    with pytest.raises(UnknownKey, match="gone"):
        RING.unwrap("p-1", key.key_id, "gone", wrapped)


def test_a_hash_needs_the_pepper_and_tells_a_number_from_a_contact() -> None:
    assert PEPPER.name("phone", "1") != PEPPER.name("contact", "1")
    assert PEPPER.name("phone", "1") != Pepper(b"another pepper, as long").name("phone", "1")
    assert len(PEPPER.name("phone", "1")) == 22


def test_development_makes_its_secrets_once_and_production_never(tmp_path) -> None:
    ring_file, pepper_file = tmp_path / "data" / "ring.json", tmp_path / "data" / "pepper"

    with pytest.raises(ConfigurationError, match="outside production"):
        load_key_ring(ring_file, create=False)
    with pytest.raises(ConfigurationError, match="production needs a pepper"):
        load_pepper(pepper_file, create=False)
    load_key_ring(ring_file, create=True)
    first = load_pepper(pepper_file, create=True).fingerprint

    assert load_pepper(pepper_file, create=True).fingerprint == first
    assert ring_file.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(json.loads(ring_file.read_text())["keys"]["development"])) == 32


@pytest.mark.parametrize("content", ["", "[]", '{"current": "a", "keys": {}}', '{"current": "a", "keys": {"a": "!!"}}'])
def test_a_key_ring_that_does_not_read_is_told(tmp_path, content: str) -> None:
    path = tmp_path / "ring.json"
    path.write_text(content)

    with pytest.raises(ConfigurationError, match="expected"):
        load_key_ring(path, create=True)


HEADERS = st.lists(st.tuples(st.text(max_size=20), st.one_of(st.none(), st.binary(max_size=40))), max_size=5)


@given(st.one_of(st.none(), st.binary(max_size=300)), st.one_of(st.none(), st.binary(max_size=30)), HEADERS)
def test_a_dead_letter_gives_its_record_back_to_the_byte(value, key, headers) -> None:
    its = Record("orders.events", 3, 42, 1_700_000_000_123, key, value, tuple(headers))
    person, _, _ = RING.new_key("p-1")

    letter = dead_letter(
        "sms.router.dlq", "router", its, PermanentError(DeadLetterReason.BAD_DATA, "no"), person, PEPPER, {}
    )
    polled = Record(letter.topic, 0, 0, 0, letter.key, letter.value, letter.headers)

    assert restore(polled, person) == its


def test_a_dead_letter_s_headers_say_everything_but_the_person() -> None:
    its = record(value=b'{"phone": "+33612345678"}', key=b"+33612345678", headers=(("ce_subject", b"Alice"),), offset=7)
    key, _, _ = RING.new_key("day:2026-11-23")

    letter = dead_letter(
        "t",
        "router",
        its,
        PermanentError(DeadLetterReason.BAD_DATA, "is wrong", field="data.x"),
        key,
        PEPPER,
        {"event_id": "e-1"},
    )
    headers = dict(letter.headers)

    assert headers["x-dlq-reason"] == b"bad_data"
    assert headers["x-dlq-field"] == b"data.x"
    assert headers["x-dlq-origin-topic"] == b"orders.events"
    assert headers["x-dlq-origin-offset"] == b"7"
    assert headers["x-dlq-event-id"] == b"e-1"
    whole = letter.value + (letter.key or b"") + b"".join(headers.values())
    assert b"33612345678" not in whole
    assert b"Alice" not in whole


def test_a_value_too_large_for_the_topic_keeps_its_head_hash_and_origin() -> None:
    its = record(value=b"x" * 1_048_000, offset=9)
    key, _, _ = RING.new_key("day:2026-11-23")

    letter = dead_letter("t", "router", its, PermanentError(DeadLetterReason.TOO_LARGE, "no"), key, PEPPER, {})
    polled = Record("t", 0, 0, 0, letter.key, letter.value, letter.headers)

    assert dict(letter.headers)["x-dlq-content"] == b"head"
    assert len(letter.value) < 70_000
    with pytest.raises(ValueError, match="at its origin"):
        restore(polled, key)


def test_processes_that_start_at_once_share_the_secrets_that_one_of_them_makes(tmp_path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from worker.secret_files import load_pepper

    for number in range(30):
        path = tmp_path / str(number) / "pepper"
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _, path=path: load_pepper(path, create=True).fingerprint, range(8)))

        assert len(set(made)) == 1
        assert [its.name for its in path.parent.iterdir()] == ["pepper"]
        assert path.stat().st_mode & 0o777 == 0o600
