"""What each dead-letter reason means, and what to do: for whoever reads one at three in the morning."""

from typing import NamedTuple

from worker.errors import DeadLetterReason as Why


class Advice(NamedTuple):
    """
    Two sentences.

    Attributes:
        meaning: What happened.
        remedy: Who mends it, and whether a replay helps.
    """

    meaning: str
    remedy: str


_EMITTER = "The emitter publishes it again, right; a replay of these bytes fails again."
_TEMPLATE = "Mend the template, deploy, replay."

ADVICE: dict[Why, Advice] = {
    Why.NULL_VALUE: Advice("The record has no value.", _EMITTER),
    Why.UNREADABLE: Advice("The Kafka client cannot parse the record; its bytes are still at its origin.", _EMITTER),
    Why.NOT_CLOUDEVENTS: Advice(
        "It has no CloudEvents headers, and its topic is not declared as plain JSON.",
        "Declare the topic's json_pointers in worker.yaml and replay, or the emitter publishes CloudEvents.",
    ),
    Why.MALFORMED_JSON: Advice("The payload is not JSON.", _EMITTER),
    Why.BAD_ENVELOPE: Advice("A CloudEvents attribute is missing or wrong.", _EMITTER),
    Why.CONFLUENT_FRAMED: Advice(
        "It is framed by a schema registry, which is not read yet.", "The emitter publishes JSON."
    ),
    Why.BAD_DATA: Advice("The payload does not fit its event type's model.", _EMITTER),
    Why.WRONG_INTAKE: Advice(
        "An event came by a topic whose `events` in worker.yaml do not list its type, or a contact or consent event came by "
        "another intake than `control`.",
        "List the type at the topic (contacts and consents: at one of the intake `control`) and replay, or the emitter uses "
        "another topic.",
    ),
    Why.RULE_FAILED: Advice(
        "A route's condition or time cannot be worked out for this event.",
        "Mend the route in routes.yaml, deploy, replay.",
    ),
    Why.BAD_NUMBER: Advice("The number cannot be read.", _EMITTER),
    Why.BAD_MESSAGE: Advice(
        "A record on a lane is no message of this worker.",
        "Find out who else writes to the lane; a replay fails again.",
    ),
    Why.TOO_LARGE: Advice("It does not fit into one record.", "The emitter publishes several smaller events."),
    Why.UNKNOWN_TEMPLATE: Advice(
        "Its template was waited for, and this version does not have it.",
        "Deploy the template and replay, or close the letter (`dead-letters close`).",
    ),
    Why.MISSING_VARIABLE: Advice(
        "The template needs a value that the event does not have.",
        "Give the variable a default, deploy, replay; or the emitter sends the value.",
    ),
    Why.TEMPLATE_FAILED: Advice("The template cannot be rendered with this event.", _TEMPLATE),
    Why.TEXT_TOO_LONG: Advice("The text has more segments than max_segments.", _TEMPLATE),
    Why.NOT_GSM: Advice("A strict template got a character outside GSM-7.", _TEMPLATE),
    Why.STOP_MISSING: Advice("A marketing text lost its STOP mention.", _TEMPLATE),
    Why.ADVERTISING: Advice(
        "A transactional text advertises: one of the event's values does, or the template.",
        "`sms-worker lint-text` shows the words. Keep the offer out of the event, or make it a marketing template; replay.",
    ),
    Why.ID_REUSED: Advice(
        "The event's id came before with other content.", "The emitter uses a new id; a replay fails again."
    ),
    Why.SENDER_REFUSED: Advice(
        "The provider refused the sender's name.", "Have it registered or change it, then replay."
    ),
    Why.TEXT_REFUSED: Advice("The provider refused the text.", _TEMPLATE),
    Why.UNKNOWN_PROVIDER_CODE: Advice(
        "The provider answered with a code that its table does not have.",
        "Look the code up, add it to the provider's table, deploy, replay.",
    ),
    Why.STATE_REFUSED: Advice("The database will never take one of its values.", _EMITTER),
    Why.CATEGORY_CHANGED: Advice(
        "Its template changed between transactional and marketing while it waited.",
        "Close it (`dead-letters close`); the event can be published again under a new id.",
    ),
    Why.SKIPPED: Advice("An operator gave it up.", "Replay it when what it was stuck on is mended."),
    Why.INTERNAL_ERROR: Advice(
        "A mistake in the worker; its log has the traceback as sender.failed.", "Mend the worker, deploy, replay."
    ),
}
