"""Records become events: CloudEvents in both modes, plain JSON, and reasons for everything else."""

import base64
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
from worker.policy.event_times import TimeDoubt
from worker.routing.decoding import decode
from worker.routing.events import BadEvent
from worker.settings import JsonPointers, TopicSettings
from worker.telemetry import metrics

TOPIC = TopicSettings(name="orders.events", start="earliest", events=("order.shipped",))
POINTERS = JsonPointers(
    id="/meta/id", type="/meta/kind", time="/meta/at", data="/payload", types={"SHIPPED": "order.shipped"}
)
JSON_TOPIC = TOPIC.model_copy(update={"json_pointers": POINTERS})


def refused(its_record, topic: TopicSettings = TOPIC) -> BadEvent:
    with pytest.raises(BadEvent) as caught:
        decode(its_record, topic, NOW)
    return caught.value


@pytest.mark.parametrize("mode", [binary, structured])
@pytest.mark.parametrize("event_type", EVENTS)
def test_every_type_is_read_in_both_modes(mode, event_type: str) -> None:
    event = decode(record(**mode(event_type, data(event_type))), TOPIC, NOW)

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

    event = decode(record(value=theirs.value, headers=tuple(theirs.headers.items())), TOPIC, NOW)

    assert (event.id, event.source, event.time) == ("e-9", "/them", NOW)
    assert event.data.order_id == "1234"


def test_the_binding_s_own_example_of_binary_mode() -> None:
    # Kafka Protocol Binding 1.0.2, 3.2.5: a type that is not ours is an event all the same.
    headers = (("ce_specversion", b"1.0"), ("ce_type", b"com.example.someevent"), ("ce_source", b"/mycontext/subcontext"),
               ("ce_id", b"1234-1234-1234"), ("ce_time", b"2018-04-05T03:56:24Z"), ("content-type", b"application/avro"))  # fmt: skip

    event = decode(record(value=b"{}", headers=headers), TOPIC, NOW)

    assert (event.type, event.id, event.data) == ("com.example.someevent", "1234-1234-1234", None)
    assert event.time.isoformat() == "2018-04-05T03:56:24+00:00"


def test_the_binding_s_own_example_of_structured_mode() -> None:
    # Kafka Protocol Binding 1.0.2, 3.3.4.
    body = {"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext/subcontext", "id": "1234-1234-1234",
            "time": "2018-04-05T03:56:24Z", "datacontenttype": "application/xml", "data": {"application": "data"}}  # fmt: skip
    headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)

    event = decode(record(value=json.dumps(body).encode(), headers=headers), TOPIC, NOW)

    assert (event.type, event.source) == ("com.example.someevent", "/mycontext/subcontext")


def test_a_missing_time_is_the_record_s() -> None:
    event = decode(record(**binary("order.shipped", data("order.shipped"), time=None)), TOPIC, NOW)

    assert event.time == NOW


def test_a_time_in_the_future_is_clamped_to_the_record_s() -> None:
    event = decode(record(**binary("order.shipped", data("order.shipped"), time=NOW + timedelta(days=400))), TOPIC, NOW)

    assert event.time == NOW


def test_unknown_fields_and_attributes_are_ignored() -> None:
    its = data("order.shipped", surprise={"deep": [1]})

    assert decode(record(**binary("order.shipped", its, mood="good")), TOPIC, NOW).data.order_id == "1234"


def test_plain_json_is_read_by_its_pointers() -> None:
    value = {"meta": {"id": 77, "kind": "SHIPPED", "at": NOW.isoformat()}, "payload": data("order.shipped")}

    event = decode(record(value=json.dumps(value).encode()), JSON_TOPIC, NOW)

    assert (event.id, event.source, event.type, event.time) == ("77", "orders.events", "order.shipped", NOW)


@pytest.mark.parametrize("at", [NOW.timestamp(), int(NOW.timestamp() * 1000)], ids=["seconds", "milliseconds"])
def test_plain_json_may_count_its_time_since_1970(at) -> None:
    value = {"meta": {"id": 77, "kind": "SHIPPED", "at": at}, "payload": data("order.shipped")}

    assert decode(record(value=json.dumps(value).encode()), JSON_TOPIC, NOW).time == NOW


def test_the_same_content_has_the_same_fingerprint_in_any_order_of_fields() -> None:
    its = data("order.shipped")
    turned = dict(reversed(its.items()))

    first, second = (
        decode(record(**mode("order.shipped", p)), TOPIC, NOW) for mode, p in ((binary, its), (structured, turned))
    )

    assert first.fingerprint == second.fingerprint
    assert (
        first.fingerprint
        != decode(record(**binary("order.shipped", data("order.shipped", order_id="2"))), TOPIC, NOW).fingerprint
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
        pytest.param(record(value=b"{}", headers=(*GOOD["headers"], ("ce_id", b"\xff"))), "bad_envelope", "ce_id", id="a header not UTF-8"),
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


@pytest.mark.parametrize(
    "ms",
    [-1, 0, 1_795_428_000, 1_795_428_000_000_000, 10**18, int((NOW - timedelta(days=5)).timestamp() * 1000)],
    ids=["none", "1970", "seconds", "microseconds", "nonsense", "days ago"],
)
def test_a_record_s_time_never_overrules_the_event_s_own(ms: int) -> None:
    event = decode(record(**binary("order.shipped", data("order.shipped")), timestamp_ms=ms), TOPIC, NOW)

    assert (event.time, event.doubt) == (NOW, None)


def test_without_a_time_of_its_own_and_with_an_impossible_record_s_it_happened_now() -> None:
    its = record(**binary("order.shipped", data("order.shipped"), time=None), timestamp_ms=-1)

    assert (decode(its, TOPIC, NOW).time, decode(its, TOPIC, NOW).doubt) == (NOW, TimeDoubt.RECORD)


def test_a_time_ahead_of_our_clock_is_clamped() -> None:
    its = record(**binary("order.shipped", data("order.shipped"), time=NOW + timedelta(hours=2)))

    assert (decode(its, TOPIC, NOW).time, decode(its, TOPIC, NOW).doubt) == (NOW, TimeDoubt.AHEAD)


@pytest.mark.parametrize(
    "told", ["0001-01-01T00:00:00Z", "1970-01-21T18:43:48Z", "1795428000", "1795428.0", "tomorrow"]
)
@pytest.mark.parametrize(
    "ms", [-1, int((NOW - timedelta(days=5)).timestamp() * 1000)], ids=["no record time", "days ago"]
)
@pytest.mark.parametrize("kind", ["consent.revoked", "contact.erased"])
def test_a_withdrawal_whose_time_cannot_be_counts_from_its_arrival(kind: str, ms: int, told: str) -> None:
    its = binary(kind, data(kind), time=None)
    headers = (*its["headers"], ("ce_time", told.encode()))

    event = decode(record(value=its["value"], headers=headers, timestamp_ms=ms), TOPIC, NOW)

    assert (event.time, event.doubt) == (NOW, TimeDoubt.IMPLAUSIBLE)


@pytest.mark.parametrize("value", [None, b""])
def test_a_time_header_without_a_value_is_no_time(value) -> None:
    headers = (*binary("order.shipped", data("order.shipped"), time=None)["headers"], ("ce_time", value))

    assert decode(record(value=json.dumps(data("order.shipped")).encode(), headers=headers), TOPIC, NOW).time == NOW


def test_a_leap_second_is_a_time() -> None:
    its = structured("order.shipped", data("order.shipped"), time="2016-12-31T23:59:60Z")

    assert decode(record(**its), TOPIC, NOW).time.isoformat() == "2017-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        pytest.param(None, (), id="nothing"),
        pytest.param(b"", (), id="empty"),
        pytest.param(b"<order/>", (("content-type", b"application/xml"),), id="XML"),
        pytest.param(b"\x00\x00\x00\x00\x07Obj", (("content-type", b"application/avro"),), id="framed Avro"),
    ],
)
def test_another_team_s_event_is_one_whatever_its_data_is(value, headers) -> None:
    named = binary("parcel.weighed", {})["headers"]

    event = decode(record(value=value, headers=(*named[:-1], *headers)), TOPIC, NOW)

    assert (event.type, event.data) == ("parcel.weighed", None)


def test_data_in_base64_is_decoded() -> None:
    encoded = base64.b64encode(json.dumps(data("order.shipped")).encode()).decode()
    for kind in (None, "application/json", "application/vnd.shop+json; charset=utf-8", "text/json"):
        body = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.shipped", "data_base64": encoded}
        body |= {"datacontenttype": kind} if kind else {}
        its = record(value=json.dumps(body).encode(), headers=(("content-type", b"application/cloudevents+json"),))

        assert decode(its, TOPIC, NOW).data.order_id == "1234"


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        pytest.param({"data_base64": "?"}, "bad_envelope", "data_base64", id="is none"),
        pytest.param({"data_base64": "e30=", "data": {}}, "bad_envelope", "data_base64", id="beside data"),
        pytest.param(
            {"data_base64": "e30=", "datacontenttype": "application/xml"}, "bad_data", "datacontenttype", id="of XML"
        ),
    ],
)
def test_data_in_base64_that_is_no_json_is_refused(changes, code: str, field: str) -> None:
    body = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.shipped", **changes}
    its = record(value=json.dumps(body).encode(), headers=(("content-type", b"application/cloudevents+json"),))

    error = refused(its)

    assert (error.code, error.field, error.envelope["id"]) == (code, field, "e-1")


def test_an_id_is_taken_as_it_is() -> None:
    assert (
        decode(record(**binary("order.shipped", data("order.shipped"), event_id=" dup-6")), TOPIC, NOW).id == " dup-6"
    )


@pytest.mark.parametrize(
    "extension",
    [
        pytest.param(("ce_traceparent", b"0" * 65), id="a traceparent that is too long"),
        pytest.param(("ce_traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01\n"), id="one with a line's end"),
        pytest.param(("ce_mood", b"\xff"), id="not UTF-8"),
        pytest.param(("ce_subject", None), id="without a value"),
    ],
)
def test_an_odd_extension_never_kills_an_event(extension) -> None:
    its = GOOD | {"headers": (*GOOD["headers"], extension)}

    event = decode(record(**its), TOPIC, NOW)

    assert (event.id, event.traceparent) == ("e-1", None)


def test_a_byte_order_mark_is_ignored() -> None:
    its = structured("order.shipped", data("order.shipped"))

    assert decode(record(**(its | {"value": b"\xef\xbb\xbf" + its["value"]})), TOPIC, NOW).id == "e-1"


def test_data_nested_too_deep_says_so_with_its_envelope() -> None:
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    value = json.dumps(data("order.shipped")).encode()[:-1] + b', "more": ' + deep + b"}"

    error = refused(record(value=value, headers=GOOD["headers"]))

    assert (error.code, error.field, error.envelope["id"]) == ("bad_data", "data", "e-1")


def test_a_framed_structured_event_is_refused_by_its_frame_and_names_its_id() -> None:
    its = structured("order.shipped", data("order.shipped"))

    error = refused(record(**(its | {"value": b"\x00\x00\x00\x00\x07" + its["value"]})))

    assert (error.code, error.envelope["id"]) == ("confluent_framed", "e-1")


@pytest.mark.parametrize("told", ["20261220", "2026-12-20", "1795428000", 1795428000, 1.5, True, "2026-W51-7T10:00Z"])
def test_a_time_in_data_is_an_iso_date_time_and_nothing_else(told) -> None:
    its = data("appointment.booked", starts_at=told)

    error = refused(record(**structured("appointment.booked", its)))

    assert (error.code, error.field) == ("bad_data", "data.starts_at")


@pytest.mark.parametrize(
    ("locale", "read", "left_out"),
    [
        pytest.param("", None, 1, id="empty"),
        pytest.param("fr-FR-u-fw-mon", "fr-FR", 0, id="an extension"),
        pytest.param("fr_FR.UTF-8", "fr_FR", 0, id="as POSIX has it"),
        pytest.param("fr-FR,fr;q=0.9", None, 1, id="a browser's list"),
        pytest.param("français", None, 1, id="a word"),
        pytest.param(12, None, 1, id="a number"),
        pytest.param(["fr"], None, 1, id="a list"),
        pytest.param(None, None, 0, id="none"),
    ],
)
def test_an_unusable_language_is_no_language_and_is_counted(locale, read, left_out: int) -> None:
    counted = metrics.LEFT_OUT.labels("locale")._value.get()
    its = data("otp.requested", {"phone": "+33612345678", "locale": locale})

    event = decode(record(**binary("otp.requested", its)), TOPIC, NOW)

    assert event.data.recipient.locale == read
    assert metrics.LEFT_OUT.labels("locale")._value.get() - counted == left_out


def test_one_recipient_s_language_loses_nobody_else() -> None:
    its = data("promotion.announced")
    its["recipients"] = [{"contact_id": "c-1", "locale": "?"}, {"contact_id": "c-2", "locale": "fr"}]

    event = decode(record(**binary("promotion.announced", its)), TOPIC, NOW)

    assert [one.locale for one in event.data.recipients] == [None, "fr"]


@pytest.mark.parametrize(
    "odd",
    [None, [1, 2], {"a": 1}, "x" * 201, ["y" * 201]],
    ids=["null", "numbers", "an object", "long", "long in a list"],
)
def test_an_odd_attribute_is_left_out_and_the_contact_stays(odd) -> None:
    its = data("contact.updated", attributes={"city": odd, "orders_90d": 3})

    event = decode(record(**binary("contact.updated", its)), TOPIC, NOW)

    assert event.data.attributes == {"orders_90d": 3}


@pytest.mark.parametrize("told", [20261220, "20261220", 0])
def test_a_day_in_data_is_an_iso_date_and_nothing_else(told) -> None:
    error = refused(record(**structured("promotion.announced", data("promotion.announced", ends_on=told))))

    assert (error.code, error.field) == ("bad_data", "data.ends_on")
