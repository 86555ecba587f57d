"""What becomes of events: routes, segments, unknown contacts, and ids that stay the same."""

import gc
import uuid
import weakref
from datetime import timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import EVENTS, ControlData
from tests import builders
from tests.builders import NOW, PEPPER, RING, binary, data, record, structured
from worker.messages import NAMESPACE, address, lane_record, name_id, open_body, read_message
from worker.people import Contact, Known
from worker.results import dead_letter
from worker.routing.deciding import Deciding, GivenUp, Ignored, Projected, Routed, Unrouted
from worker.settings import Intake, TopicSettings

CONFIGURATION = builders.configuration()
TOPICS = {"orders.events": TopicSettings(name="orders.events", start="earliest", events=tuple(EVENTS))}
CARD = Contact(phone="+33612345678", person="p-1", country="FR", first_name="Alice", attributes={})


def deciding(intake: Intake = Intake.NORMAL, deployment: str = "shop-dev") -> Deciding:
    return Deciding(intake, deployment, TOPICS, CONFIGURATION.table, PEPPER)


def decided(its_record, contact: Contact | None = CARD, its: Deciding | None = None):
    its = its or deciding()
    read = its.read(its_record, NOW)
    known = {subject: Known(RING.new_key(subject)[0], contact) for subject in read.subjects()}
    return its.decide(read, known)


def routed(event_type: str, contact: Contact | None = CARD, recipient=None, **changes):
    decision = decided(record(**binary(event_type, data(event_type, recipient, **changes))), contact)
    return {message.route: message for message in decision.messages} if isinstance(decision, Routed) else decision


@pytest.mark.parametrize(
    "event_type", [t for t, m in EVENTS.items() if not issubclass(m, ControlData) and t != "otp.verified"]
)
def test_every_event_that_sends_has_a_route(event_type: str) -> None:
    attributes = {"orders_90d": 5}
    decision = routed(
        event_type, Contact(**{**{s: getattr(CARD, s) for s in CARD.__slots__}, "attributes": attributes})
    )

    assert decision
    assert not isinstance(decision, Unrouted | Ignored | GivenUp)


def person(**attributes) -> Contact:
    return Contact(phone="+33612345678", person="p-1", country="FR", attributes=attributes)


@pytest.mark.parametrize(
    ("contact", "event", "routes"),
    [
        pytest.param(person(orders_90d=3), {}, {"promotion-loyal"}, id="by purchases"),
        pytest.param(person(orders_90d=1, interests=["running"]), {"interest": "running"}, {"promotion-interest"}, id="by interest"),
        pytest.param(person(interests=["yoga"]), {"interest": "running"}, None, id="another interest"),
        pytest.param(person(city="Lyon"), {"city": "Lyon"}, {"promotion-city"}, id="by place"),
        pytest.param(person(city="Paris"), {"city": "Lyon"}, None, id="another town"),
        pytest.param(person(orders_90d=9, city="Lyon"), {"city": "Lyon"}, {"promotion-loyal"}, id="loyal customers get one text, not two"),
        pytest.param(person(), {}, None, id="nothing known of the person"),
        pytest.param(person(interests="running"), {"interest": "running"}, None, id="an attribute of a type that does not compare"),
    ],
)  # fmt: skip
def test_segments_are_cut_by_purchases_place_and_interests(contact: Contact, event: dict, routes) -> None:
    decision = routed("promotion.announced", contact, **event)

    if routes is None:
        assert isinstance(decision, Unrouted)
        assert decision.reason == "no_route_matched"
    else:
        assert set(decision) == routes


def test_a_cart_below_twenty_euros_is_not_worth_a_text() -> None:
    assert isinstance(routed("cart.abandoned", total={"amount": 19.99}), Unrouted)
    assert set(routed("cart.abandoned", total={"amount": 20})) == {"cart-reminder"}


def test_a_gift_is_told_to_whom_it_is_for_without_the_buyer_s_name() -> None:
    messages = routed("order.shipped", gift_recipient={"phone": "06 78 90 12 34"})

    assert set(messages) == {"order-shipped", "gift-shipped"}
    gift = messages["gift-shipped"]
    assert gift.recipient == PEPPER.name("phone", "+33678901234")
    assert not gift.contact


def test_an_unknown_contact_is_never_no_match() -> None:
    messages = routed("promotion.announced", None)

    assert {message.unresolved for message in messages.values()} == {"unknown_contact"}


def test_a_message_carries_nobody_else_s_data_and_nothing_in_the_clear() -> None:
    its = data("event.invitation")
    its["recipients"] = [{"contact_id": "c-1"}, {"phone": "+33698765432"}]
    read = deciding().read(record(**binary("event.invitation", its)), NOW)
    known = {subject: Known(RING.new_key(subject)[0], CARD) for subject in read.subjects()}

    messages = deciding().decide(read, known).messages
    outgoing = lane_record("sms.marketing", messages[1])
    body = open_body(messages[0], known[messages[0].recipient].key)

    assert b"33698765432" not in outgoing.value + outgoing.key
    assert "recipients" not in body.data
    assert body.phone is None


def test_a_message_reads_back_as_it_was_written() -> None:
    (message,) = routed("order.shipped").values()

    outgoing = lane_record("sms.transactional", message)
    again = read_message(record(outgoing.topic, outgoing.value, key=outgoing.key))

    assert again.model_dump() == message.model_dump()


def test_the_same_event_gives_the_same_id_in_any_mode_and_another_one_elsewhere() -> None:
    its = data("order.shipped")
    one, two = (decided(record(**mode("order.shipped", its))).messages[0] for mode in (binary, structured))
    staging = decided(record(**binary("order.shipped", its)), its=deciding(deployment="shop-staging")).messages[0]

    assert one.id == two.id
    assert staging.id != one.id
    assert decided(record(**binary("order.shipped", its, "e-2"))).messages[0].id != one.id


def test_message_ids_never_change_between_versions() -> None:
    # A changed id would text everybody in flight again. Never edit this value.
    (message,) = routed("order.shipped").values()

    assert message.id == "d11b71e9-6b24-59a1-974c-60cbb79bd85f"


@given(st.text())
def test_an_id_is_a_uuid_5(name: str) -> None:
    assert name_id(name) == str(uuid.uuid5(NAMESPACE, name))


def test_a_changed_number_or_spelling_is_the_same_person() -> None:
    first, second = (
        routed("otp.requested", recipient={"phone": phone})["otp-code"].recipient
        for phone in ("06 12 34 56 78", "+33612345678")
    )

    assert first == second
    assert (
        address(
            EVENTS["otp.requested"].model_validate(data("otp.requested", {"phone": "0612345678"})).recipient, PEPPER
        ).subject
        == first
    )


def test_an_unknown_type_is_ignored() -> None:
    assert isinstance(decided(record(**binary("order.shiped", {}))), Ignored)


def test_a_known_type_without_a_route_is_said() -> None:
    decision = routed("otp.verified")

    assert (type(decision), decision.reason) == (Unrouted, "no_route")


def test_consent_on_another_intake_is_a_dead_letter_and_never_lost_in_silence() -> None:
    its = record(**binary("consent.revoked", data("consent.revoked")))

    assert decided(its).error.code == "wrong_intake"
    assert isinstance(decided(its, its=deciding(Intake.CONTROL)), Projected)


def test_lane_records_name_nobody(subtests=None) -> None:
    (message,) = routed("otp.requested", recipient={"phone": "+33612345678"}).values()

    text = orjson.dumps(message.model_dump(mode="json"))

    assert b"612345678" not in text
    assert b"482913" not in text


def test_one_person_s_odd_attribute_does_not_cost_the_others_their_text() -> None:
    its = deciding()
    recipients = [{"contact_id": "c-1"}, {"contact_id": "c-2"}]
    payload = {**data("promotion.announced"), "recipients": recipients}
    read = its.read(record(**binary("promotion.announced", payload)), NOW)
    odd, good = person(orders_90d="3"), person(orders_90d=3)
    subjects = [PEPPER.name("contact", "c-1"), PEPPER.name("contact", "c-2")]
    known = {
        subject: Known(RING.new_key(subject)[0], card) for subject, card in zip(subjects, (odd, good), strict=True)
    }

    messages = its.decide(read, known).messages

    assert [message.recipient for message in messages] == [subjects[1]]


@pytest.mark.parametrize(
    "its_record",
    [
        pytest.param(record(**structured("order.shipped", {}, event_id="x" * 400_000)), id="an id of 400 KB"),
        pytest.param(record(value=b"{", timestamp_ms=10**18), id="a time in the year 31 million"),
        pytest.param(
            record(**binary("cart.abandoned", data("cart.abandoned", item_count="100000000000000000000"))),
            id="a huge number",
        ),
        pytest.param(record(**binary("order.shipped", data("order.shipped"), event_id="e\x00")), id="a NUL in the id"),
        pytest.param(record(**binary("order.shipped", data("order.shipped", order_id="4\x00"))), id="a NUL in a field"),
    ],
)
def test_a_hostile_record_becomes_a_dead_letter_of_bounded_size(its_record) -> None:
    decision = decided(its_record)

    assert isinstance(decision, GivenUp)
    key, _, _ = RING.new_key("day:2026-11-23")
    letter = dead_letter("t", "router", its_record, decision.error, key, PEPPER, dict(decision.envelope))
    assert sum(len(v) for _, v in letter.headers) < 4_000
    assert all(len(value) <= 512 for value in decision.envelope.values())


def test_a_yes_from_a_clock_that_runs_ahead_does_not_outlive_a_later_no() -> None:
    its, ahead = deciding(Intake.CONTROL), NOW + timedelta(minutes=4)

    grant = decided(record(**binary("consent.granted", data("consent.granted"), time=ahead)), its=its)
    stop = decided(
        record(**binary("consent.revoked", data("consent.revoked"), time=NOW + timedelta(minutes=2))), its=its
    )

    assert grant.change.at < stop.change.at


def test_a_consent_for_a_purpose_that_nobody_asks_for_is_a_dead_letter_and_no_silent_yes() -> None:
    decision = decided(
        record(**binary("consent.granted", data("consent.granted", purposes=["offers", "ofers"]))),
        its=deciding(Intake.CONTROL),
    )

    assert isinstance(decision, GivenUp)
    assert (decision.error.code, decision.error.field) == ("bad_data", "data.purposes.1")
    assert "ofers" not in str(decision.error)


def test_a_type_that_its_topic_does_not_list_is_refused_whatever_its_lane() -> None:
    topics = {"orders.events": TopicSettings(name="orders.events", start="earliest", events=("order.shipped",))}
    its = Deciding(Intake.NORMAL, "shop-dev", topics, CONFIGURATION.table, PEPPER)

    for stray in ("otp.requested", "otp.verified", "promotion.announced"):
        read = its.read(record(**binary(stray, data(stray))), NOW)
        decision = its.decide(read, {})

        assert (decision.error.code, decision.envelope["id"], read.verified) == ("wrong_intake", "e-1", ())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(binary("order.shipped", data("order.shipped", {})), id="a validator of ours says no"),
        pytest.param(binary("order.shipped", {}), id="a field is missing"),
        pytest.param(binary("order.shipped", b"{"), id="no JSON"),
        pytest.param(binary("order.shipped", None), id="nothing"),
        pytest.param(structured("order.shipped", {}, id=""), id="a bad envelope"),
        pytest.param(structured("order.shipped", {}, time="tomorrow"), id="a bad time"),
    ],
)
def test_what_is_kept_of_a_bad_event_holds_nothing_of_its_batch(bad) -> None:
    class Batch(list):
        """A list that can be looked for."""

    its = deciding()

    def handle() -> weakref.ref:
        batch = Batch()
        batch.append(its.read(record(**bad), NOW))
        its.decide(batch[0], {})
        return weakref.ref(batch)

    gc.disable()
    try:
        assert handle()() is None  # by counting alone: nothing waits for the collector
    finally:
        gc.enable()
