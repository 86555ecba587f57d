"""
Dead letters: a record that could not be handled, kept whole, with its reason in `x-dlq-*` headers.

The value is the original value and the header `x-dlq-original` the original key and headers, both sealed.
"""

from schemas.contract import Contract, Time


class DeadLetterHeaders(Contract):
    """
    The `x-dlq-*` headers of a dead letter, written with dashes: `x-dlq-reason`.

    Attributes:
        reason: A code from a closed list.
        error: What was wrong, without any value of the record.
        field: Path of the field that was wrong.
        origin_topic: Where the record was read, with its partition, offset and time.
        sealed_for: Whose key sealed it: a person's keyed hash, or `day:2026-11-23`.
        content: `whole`; `null` for a record without value; `head` where the original is too large for the topic.
        sha256: Of the original value.
        attempts: How often it was tried: once, and once for each time an operator put it back.
        worker_version: Which worker gave up.
    """

    reason: str
    stage: str
    error: str
    field: str | None = None
    origin_topic: str
    origin_partition: int
    origin_offset: int
    origin_time: Time
    event_id: str | None = None
    event_source: str | None = None
    event_type: str | None = None
    route: str | None = None
    template: str | None = None
    message_id: str | None = None
    campaign: str | None = None
    sealed_for: str
    content: str = "whole"
    sha256: str
    attempts: int = 1
    worker_version: str
