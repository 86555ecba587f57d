"""The schema. Times are seconds since 1970 by the database's own clock, unless a column says otherwise."""

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()
# Expand, then contract: a version's migrations only add, so that the version before it runs on while it is rolled out. Those
# that take away come a version later, and raise this: the oldest revision whose worker can use the schema as it is now.
SERVES, OLDEST_SERVED = "schema.serves", "0012"


def _only(which: str) -> dict[str, Any]:
    """Make an index one of some rows only, on either engine."""
    return {"postgresql_where": sa.text(which), "sqlite_where": sa.text(which)}


# What this database belongs to: the deployment's name, the pepper's fingerprint.
facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# A data key per person, wrapped by the key ring. Deleting a row forgets the person.
person_keys = sa.Table(
    "person_keys",
    metadata,
    sa.Column("subject", sa.String(40), primary_key=True),
    sa.Column("key_id", sa.LargeBinary(8), nullable=False),
    sa.Column("ring_key", sa.String(60), nullable=False),
    sa.Column("wrapped", sa.LargeBinary(80), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
)

# Who a contact id is. `version` is the time of the event that wrote it; an erased contact stays as an empty row.
contacts = sa.Table(
    "contacts",
    metadata,
    sa.Column("subject", sa.String(40), primary_key=True),
    sa.Column("person", sa.String(40), index=True),
    sa.Column("country", sa.String(2)),
    sa.Column("version", sa.Double, nullable=False),
    sa.Column("sealed", sa.LargeBinary),
)

# What people did, append-only. `person` is null while the contact's number is not known yet.
consents = sa.Table(
    "consents",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("subject", sa.String(40), nullable=False, index=True),
    sa.Column("person", sa.String(40)),
    sa.Column("act", sa.String(10), nullable=False),
    sa.Column("purpose", sa.String(40), nullable=False),
    sa.Column("at", sa.Double, nullable=False, comment="the event's own time"),
    sa.Column("channel", sa.String(20)),
    sa.Column("wording_version", sa.String(60)),
    sa.Column("source", sa.String(512), comment="of the event; none in rows of versions before 0015"),
    sa.Column("event_id", sa.String(512), nullable=False),
    sa.Column("content", sa.String(80), comment="keyed hash: another event with the same id is another act"),
    sa.Column("topic", sa.String(249), nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False, comment="the record itself, with its headers, as proof"),
    sa.Column("recorded_at", sa.Double, nullable=False),
    # An act is named by who did what, never by a place in a log: a topic that is made again has other records there.
    sa.Index(
        "consents_act",
        "subject",
        "source",
        "event_id",
        "act",
        "purpose",
        "content",
        unique=True,
        **_only("source IS NOT NULL"),
    ),
    sa.Index("consents_person", "person", "act", "purpose", "at"),
    sa.Index("consents_erasure", "recorded_at", **_only("channel = 'erasure'")),
)

# Numbers that somebody else than their owner decided not to text; no number is kept.
suppressions = sa.Table(
    "suppressions",
    metadata,
    sa.Column("person", sa.String(40), primary_key=True),
    sa.Column("scope", sa.String(12), primary_key=True, comment="marketing or everything"),
    sa.Column("reason", sa.String(40), primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
)

# Those that were lifted, or said again later: what held on a day that is past.
past_suppressions = sa.Table(
    "past_suppressions",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("person", sa.String(40), nullable=False, index=True),
    sa.Column("scope", sa.String(12), nullable=False),
    sa.Column("reason", sa.String(40), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
)

# Up to when each partition of the control intake has been read.
projections = sa.Table(
    "projections",
    metadata,
    sa.Column("topic", sa.String(249), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("caught_up_at", sa.Double, nullable=False),
)

# How far each partition has been read, by the deployment and not by a group. Partition -1: the topic did not exist yet.
positions = sa.Table(
    "positions",
    metadata,
    sa.Column("topic", sa.String(249), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("topic_id", sa.String(32), nullable=False, comment="empty if the broker does not say"),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("committed_at", sa.Double, comment="none if it was only there at the first start"),
)

# An account's token bucket and hold.
accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.String(60), primary_key=True),
    sa.Column("tokens", sa.Double, nullable=False),
    sa.Column("refilled_at", sa.Double, nullable=False),
    sa.Column("held_until", sa.Double, nullable=False, server_default="0"),
    sa.Column("hold_reason", sa.String(60)),
)

# What was sent. See `worker.delivery.ledger` for the states.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("message_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("fingerprint", sa.String(20), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("reuse", sa.Boolean, nullable=False),
    sa.Column("holder", sa.String(60)),
    sa.Column("account", sa.String(60)),
    sa.Column("lease_until", sa.Double),
    sa.Column("ref_since", sa.Double),
    sa.Column("ambiguous", sa.Boolean, nullable=False),
    sa.Column("outcome", sa.LargeBinary),
    sa.Column("step", sa.Integer, nullable=False, server_default="0"),
    sa.Column("given_up", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("person", sa.String(40), comment="keyed hash of the number, whose caps it counts under"),
    sa.Column("scope", sa.String(120)),
    sa.Column("claimed_at", sa.Double),
    sa.Column("reserved", sa.Double, comment="money, in the account's currency"),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Index("ledger_claims", "account", **_only("state = 'claimed'")),
    sa.Index("ledger_open", "state", **_only("state IN ('released', 'in_doubt')")),
    sa.Index("ledger_person", "person", "claimed_at", **_only("person IS NOT NULL")),
)

# Messages that wait: one row each, of the latest step. `taken_until` is a mover's, while it publishes.
deferred = sa.Table(
    "deferred",
    metadata,
    sa.Column("message_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("lane", sa.String(20), nullable=False),
    sa.Column("due", sa.Double, nullable=False),
    sa.Column("reason", sa.String(40), nullable=False),
    sa.Column("template", sa.String(100), nullable=False),
    sa.Column("recipient", sa.String(40), nullable=False, index=True),
    sa.Column("message", sa.LargeBinary, nullable=False, comment="the lane record's value, personal data sealed"),
    sa.Column("taken_until", sa.Double, nullable=False, server_default="0"),
    sa.Index("deferred_due", "lane", "due"),
    sa.Index("deferred_flood", "template", **_only("reason = 'flood'")),
    sa.Index("deferred_paused", "due", **_only("reason = 'paused'")),
)

# When events that some route names under `unless` happened last, by a keyed hash of type and what they have in common.
seen_events = sa.Table(
    "seen_events",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("at", sa.Double, nullable=False, comment="the event's own time"),
    sa.Column("recorded_at", sa.Double, nullable=False, index=True),
)

# Records that an operator gave up: whoever reads one makes it a dead letter.
skips = sa.Table(
    "skips",
    metadata,
    sa.Column("topic", sa.String(249), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("offset", sa.BigInteger, primary_key=True),
    sa.Column("reason", sa.String(200), nullable=False),
    sa.Column("asked_by", sa.String(100), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("done_at", sa.Double),
    sa.Column("record_ms", sa.BigInteger, comment="the record's time: a topic made again has another record there"),
)

# Dead letters that somebody put back or closed; they are shown no more.
handled_letters = sa.Table(
    "handled_letters",
    metadata,
    sa.Column("topic", sa.String(249), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("offset", sa.BigInteger, primary_key=True),
    sa.Column(
        "letter_ms",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="the letter's time: a topic made anew has others",
    ),
    sa.Column("run", sa.String(40), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

# What operators took back: messages of events up to then, by campaign, route or message.
cancellations = sa.Table(
    "cancellations",
    metadata,
    sa.Column("scope", sa.String(160), primary_key=True, comment="campaign:NAME, route:NAME or message:ID"),
    sa.Column("at", sa.Double, nullable=False),
)

# Templates and accounts that hold until somebody releases them, because what they send is refused in a flood.
floods = sa.Table(
    "floods",
    metadata,
    sa.Column("scope", sa.String(120), primary_key=True, comment="template:NAME or account:NAME"),
    sa.Column("reason", sa.String(40), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

# Running sums: money by account and day or month, codes by country and five minutes.
tallies = sa.Table(
    "tallies",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("bucket", sa.BigInteger, primary_key=True, comment="seconds since 1970; 0 where the name says the time"),
    sa.Column("amount", sa.Double, nullable=False),
)

# Who got a code lately, by the block of numbers, for the abuse guard. Kept for a day.
code_numbers = sa.Table(
    "code_numbers",
    metadata,
    sa.Column("block", sa.String(40), primary_key=True),
    sa.Column("person", sa.String(40), primary_key=True, index=True),
    sa.Column("country", sa.String(2), nullable=False),
    sa.Column("at", sa.Double, nullable=False, index=True),
    sa.Column("verified_at", sa.Double),
)

# What the abuse guard blocks, and what an operator allowed in spite of it.
guards = sa.Table(
    "guards",
    metadata,
    sa.Column("scope", sa.String(80), primary_key=True, comment="country:XX, number:HASH, block:HASH or spend"),
    sa.Column("reason", sa.String(40), nullable=False),
    sa.Column("blocked_until", sa.Double, nullable=False),
    sa.Column("allowed_until", sa.Double, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

# What is known of numbers, by keyed hash: as they were looked up last, and how often a provider refused them.
numbers = sa.Table(
    "numbers",
    metadata,
    sa.Column("person", sa.String(40), primary_key=True),
    sa.Column("line", sa.String(12), comment="live, dead or undecided, as it was looked up last"),
    sa.Column("checked_at", sa.Double),
    sa.Column("strikes", sa.Integer, nullable=False, server_default="0", comment="of the transactional account"),
    sa.Column("marketing_strikes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("struck_at", sa.Double),
)

# Which processes run, as they say of themselves every ten seconds.
processes = sa.Table(
    "processes",
    metadata,
    sa.Column("incarnation", sa.String(40), primary_key=True),
    sa.Column("host", sa.String(120), nullable=False),
    sa.Column("duties", sa.String(120), nullable=False),
    sa.Column("version", sa.String(40), nullable=False),
    sa.Column("configuration", sa.String(20), nullable=False, comment="hash of the content it runs"),
    sa.Column("refused", sa.Boolean, nullable=False, comment="it was offered another one, and keeps this"),
    sa.Column("ring_keys", sa.Text, nullable=False, comment="names of the key ring's keys, as JSON"),
    sa.Column("current_key", sa.String(60), nullable=False, comment="that wraps what it wraps"),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("seen_at", sa.Double, nullable=False),
)

# When jobs that recur were last done.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("succeeded_at", sa.Double, nullable=False),
)

# When somebody was last texted about something they did, as far as the ledger's own rows are gone.
signs = sa.Table(
    "signs",
    metadata,
    sa.Column("person", sa.String(40), primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
)

# What one process counted of the whole deployment, for all of them to tell.
snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("claimed_at", sa.Double, nullable=False, comment="when somebody last began to count"),
    sa.Column("counted_at", sa.Double, comment="when somebody last was done"),
    sa.Column("value", sa.Text, comment="as JSON; none before the first count is done"),
)
