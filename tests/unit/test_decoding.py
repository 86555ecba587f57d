"""Records become events: CloudEvents in both modes, plain JSON, and reasons for everything else."""

import json
from datetime import timedelta

import pytest
from cloudevents.core.bindings.kafka import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as TheirEvent

from schemas.events import EVENTS
from tests import builders
from tests.builders import NOW, binary, data, record, structured
from worker.errors import DeadLetterReason
from worker.routing.decoding import BadEvent, decode
from worker.settings import JsonPointers, TopicSettings

TOPIC = TopicSettings(name="orders.events", start="earliest", events=("order.shipped",))
POINTERS = JsonPointers(
    id="/meta/id", type="/meta/kind", time="/meta/at", data="/payload", types={"SHIPPED": "order.shipped"}
)
JSON_TOPIC = TOPIC.model_copy(update={"json_pointers": POINTERS})


def refused(its_record, topic: TopicSettings = TOPIC) -> BadEvent:
    with pytest.raises(BadEvent) as caught:
        decode(its_record, topic)
    return caught.value


@pytest.mark.parametrize("mode", [binary, structured])
@pytest.mark.parametrize("event_type", EVENTS)
def test_every_type_is_read_in_both_modes(mode, event_type: str) -> None:
    event = decode(record(**mode(event_type, data(event_type))), TOPIC)

    assert (event.id, event.source, event.type, event.time) == ("e-1", "/shop", event_type, NOW)
    assert isinstance(event.data, EVENTS[event_type])


@pytest.mark.parametrize("write", [to_binary, to_structured])
def test_what_the_reference_library_writes_is_read(write) -> None:
    attributes = {
        "id": "e-9",
        "source": "/them",
        "type": "order.shipped",
        "time": NOW,
        "datacontenttype": "application/json",
    }
    theirs = write(
        TheirEvent({**attributes, "specversion": "1.0", "partitionkey": "k"}, data("order.shipped")), JSONFormat()
    )

    event = decode(record(value=theirs.value, headers=tuple(theirs.headers.items())), TOPIC)

    assert (event.id, event.source, event.time) == ("e-9", "/them", NOW)
    assert event.data.order_id == "1234"


def test_the_binding_s_own_example_of_binary_mode() -> None:
    # Kafka Protocol Binding 1.0.2, 3.2.5: a type that is not ours is an event all the same.
    headers = (("ce_specversion", b"1.0"), ("ce_type", b"com.example.someevent"), ("ce_source", b"/mycontext/subcontext"),
               ("ce_id", b"1234-1234-1234"), ("ce_time", b"2018-04-05T03:56:24Z"), ("content-type", b"application/avro"))  # fmt: skip

    event = decode(record(value=b"{}", headers=headers), TOPIC)

    assert (event.type, event.id, event.data) == ("com.example.someevent", "1234-1234-1234", None)
    assert event.time.isoformat() == "2018-04-05T03:56:24+00:00"


def test_the_binding_s_own_example_of_structured_mode() -> None:
    # Kafka Protocol Binding 1.0.2, 3.3.4.
    body = {"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext/subcontext", "id": "1234-1234-1234",
            "time": "2018-04-05T03:56:24Z", "datacontenttype": "application/xml", "data": {"application": "data"}}  # fmt: skip
    headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)

    event = decode(record(value=json.dumps(body).encode(), headers=headers), TOPIC)

    assert (event.type, event.source) == ("com.example.someevent", "/mycontext/subcontext")


def test_a_missing_time_is_the_record_s() -> None:
    event = decode(record(**binary("order.shipped", data("order.shipped"), time=None)), TOPIC)

    assert event.time == NOW


def test_a_time_in_the_future_is_clamped_to_the_record_s() -> None:
    event = decode(record(**binary("order.shipped", data("order.shipped"), time=NOW + timedelta(days=400))), TOPIC)

    assert event.time == NOW


def test_unknown_fields_and_attributes_are_ignored() -> None:
    its = data("order.shipped", surprise={"deep": [1]})

    assert decode(record(**binary("order.shipped", its, mood="good")), TOPIC).data.order_id == "1234"


def test_plain_json_is_read_by_its_pointers() -> None:
    value = {"meta": {"id": 77, "kind": "SHIPPED", "at": NOW.isoformat()}, "payload": data("order.shipped")}

    event = decode(record(value=json.dumps(value).encode()), JSON_TOPIC)

    assert (event.id, event.source, event.type, event.time) == ("77", "orders.events", "order.shipped", NOW)


def test_the_same_content_has_the_same_fingerprint_in_any_order_of_fields() -> None:
    its = data("order.shipped")
    turned = dict(reversed(its.items()))

    first, second = (
        decode(record(**mode("order.shipped", p)), TOPIC) for mode, p in ((binary, its), (structured, turned))
    )

    assert first.fingerprint == second.fingerprint
    assert (
        first.fingerprint
        != decode(record(**binary("order.shipped", data("order.shipped", order_id="2"))), TOPIC).fingerprint
    )


GOOD = binary("order.shipped", data("order.shipped"))
MISSING = {name: value for name, value in data("order.shipped").items() if name != "tracking_url"}


@pytest.mark.parametrize(
    ("its_record", "code", "field"),
    [
        pytest.param(record(value=None, headers=GOOD["headers"]), "null_value", None, id="no value"),
        pytest.param(record(value=None), "null_value", None, id="a tombstone"),
        pytest.param(record(value=b"{}"), "not_cloudevents", None, id="no envelope"),
        pytest.param(record(value=b"", headers=GOOD["headers"]), "malformed_json", None, id="empty value"),
        pytest.param(record(value=b'{"a": ', headers=GOOD["headers"]), "malformed_json", None, id="cut short"),
        pytest.param(record(value=b"\xff\xfe\x00", headers=GOOD["headers"]), "malformed_json", None, id="not UTF-8"),
        pytest.param(record(value=b"\x00\x00\x00\x00\x07{}"), "confluent_framed", None, id="Confluent frame"),
        pytest.param(record(value=b"\x00\x00\x00\x00\x07{}", headers=GOOD["headers"]), "confluent_framed", None, id="frame in data"),
        pytest.param(record(value=b"[1]", headers=(("content-type", b"application/cloudevents+json"),)), "bad_envelope", None, id="a batch"),
        pytest.param(record(**structured("order.shipped", {}, event_id="")), "bad_envelope", "id", id="an empty id"),
        pytest.param(record(**structured("order.shipped", {}, specversion="0.3")), "bad_envelope", "specversion", id="an old version"),
        pytest.param(record(**structured("order.shipped", {}, time="tomorrow")), "bad_envelope", "time", id="no time"),
        pytest.param(record(value=b"{}", headers=(*GOOD["headers"], ("ce_subject", b"\xff"))), "bad_envelope", "ce_subject", id="a header not UTF-8"),
        pytest.param(record(**binary("order.shipped", MISSING)), "bad_data", "data.tracking_url", id="a field is missing"),
        pytest.param(record(**binary("order.shipped", [])), "bad_data", "data", id="data is a list"),
        pytest.param(record(**binary("order.shipped", None)), "null_value", None, id="data is null bytes"),
        pytest.param(record(**binary("order.shipped", b"null")), "bad_data", "data", id="data is null"),
        pytest.param(record(**binary("order.shipped", data("order.shipped", {}))), "bad_data", "data.recipient", id="nobody is named"),
        pytest.param(record(**binary("order.shipped", data("order.shipped", order_id=5))), "bad_data", "data.order_id", id="a wrong type"),
        pytest.param(record(**binary("otp.requested", data("otp.requested", code="<script>"))), "bad_data", "data.code", id="a code that is none"),
        pytest.param(record(value=b"[" * 100_000, headers=GOOD["headers"]), "malformed_json", None, id="deep nesting"),
    ],
)  # fmt: skip
def test_what_is_no_event_says_why(its_record, code: str, field: str | None) -> None:
    error = refused(its_record)

    assert (error.code, error.field) == (DeadLetterReason(code), field)


def test_an_error_never_repeats_a_value() -> None:
    secret = data("otp.requested", {"phone": "+33612345678 and a name"}, code="not a code 123456")

    error = refused(record(**binary("otp.requested", secret)))

    assert "123456" not in str(error)
    assert "+336" not in str(error)


def test_the_envelope_of_a_bad_event_is_kept_as_far_as_it_reads() -> None:
    assert refused(record(**binary("order.shipped", MISSING))).envelope == {
        "id": "e-1",
        "source": "/shop",
        "type": "order.shipped",
    }
    assert refused(record(value=b"{}", headers=(("ce_specversion", b"1.0"), ("ce_id", b"7")))).envelope == {"id": "7"}


def test_a_pointer_that_leads_nowhere_is_told() -> None:
    error = refused(record(value=b'{"meta": {}}'), JSON_TOPIC)

    assert (error.code, error.field) == (DeadLetterReason.BAD_ENVELOPE, "/meta/id")
