"""
The catalogue: every metric of the worker, and nowhere else.

Labels come from enums and from names in the configuration, never from events.
"""

from functools import lru_cache
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram

from worker.telemetry.catalogue import counter, gauge, histogram

MetricT = TypeVar("MetricT", Counter, Gauge, Histogram)

# The flow: what comes in, what becomes of it. The sums of docs/how-it-works.md are made of these.
RECORDS = counter(
    "sms_records_total",
    "Records of input topics, by what became of them.",
    ["intake", "became"],
    worry="`dead_lettered` grows, or all is `unrouted` after a deploy.",
)
EVENT_TIMES = counter(
    "sms_event_times_not_used_total",
    "Events whose own time, or whose record's, was not taken as it stands.",
    ["why"],
    worry="It grows: an emitter's clock or unit is wrong.",
)
RECORDS_READ = counter(
    "sms_records_read_total", "Records read from input topics; the sum of sms_records_total.", ["intake"]
)
MESSAGES_ROUTED = counter("sms_messages_routed_total", "Messages put on a lane by the router.", ["lane", "route"])
LEFT_OUT = counter(
    "sms_values_left_out_total",
    "Unusable optional values of events that were left out: a language, a zone, an attribute of a contact.",
    ["field"],
    worry="It grows: an emitter writes something else than the contract says.",
    quiet=True,
)
RULE_FAILURES = counter(
    "sms_rule_failures_total",
    "People whom a condition could not judge.",
    ["route"],
    worry="It grows: an attribute of contacts has changed its type.",
    quiet=True,
)
MESSAGES_READ = counter(
    "sms_messages_read_total", "Messages read from a lane.", ["lane"], worry="Its rate is 0 while the lane has lag."
)
REPLAYED = counter(
    "sms_messages_replayed_total", "Messages read from a lane that were dead letters before.", ["lane"], quiet=True
)
MOVED = counter("sms_messages_moved_total", "Deferred messages put on their lane's due topic.", ["lane"], quiet=True)
WAITING = gauge(
    "sms_messages_waiting",
    "Messages deferred, by why; the whole deployment's, as the state store says: every process tells the same.",
    ["lane", "reason"],
    worry="`try_again`, `flood` or `unknown_template` grow.",
    quiet=True,
)
DUE = gauge(
    "sms_messages_due",
    "Messages deferred, by when they are due: `overdue`, or within so many hours; the whole deployment's.",
    ["lane", "within"],
    worry="`overdue` does not fall: no sender of the lane moves what is due.",
    quiet=True,
)
OUTCOMES = counter(
    "sms_outcomes_total",
    "Outcomes published, by category and reason.",
    ["category", "lane", "outcome", "reason"],
    worry="`expired` or `unknown` grow for transactional messages.",
)
DEAD_LETTERS = counter(
    "sms_dead_letters_total",
    "Records given up, by stage and reason.",
    ["stage", "reason"],
    worry="It grows; `sms-worker dead-letters histogram` says of what.",
    quiet=True,
)
FLOODS_FOUND = counter("sms_floods_total", "Times a template or account began to hold.", ["reason"], quiet=True)
FLOODS = gauge(
    "sms_flood_held",
    "1 for a template or account that holds until `dead-letters release`.",
    ["scope", "reason"],
    worry="It is there at all.",
    quiet=True,
)
PAUSED = gauge(
    "sms_paused",
    "1 for a lane, account or route that an operator paused, until it resumes.",
    ["scope"],
    worry="It is there, and nobody remembers why: `sms-worker status`.",
    quiet=True,
)

# How long it takes.
EVENT_TO_SUBMIT_S = histogram(
    "sms_event_to_submit_seconds",
    "From the event's own time, or the time it was to wait for, to the provider's answer.",
    ["lane"],
    worry="The urgent lane's 99th percentile passes 5 s.",
)
ROUTE_S = histogram(
    "sms_route_seconds", "From a batch that a router is handed until the broker has all that came of it.", ["intake"]
)
LOOKUP_S = histogram("sms_lookup_seconds", "Waiting for ledger row, contact and key.", ["lane"])
FENCE_WAIT_S = histogram("sms_fence_wait_seconds", "Waiting for the fence: rate, holds, other requests.", ["lane"])
SUBMIT_S = histogram(
    "sms_submit_seconds", "From the start of a request to the provider's answer.", ["account"], worry="It doubles."
)

# Providers and money.
SUBMITS = counter(
    "sms_submits_total",
    "Requests to a provider, by answer.",
    ["account", "answer", "reason"],
    worry="Answers other than `accepted` pass 2 % of all.",
)
SEGMENTS = counter("sms_segments_total", "Segments accepted by a provider.", ["account", "category", "encoding"])
PROVIDER_SEGMENTS = counter(
    "sms_provider_segments_total",
    "The same as the provider counts them.",
    ["account", "category"],
    worry="It differs from sms_segments_total: texts cost more than `check` says.",
)
SEGMENT_MISMATCH = counter(
    "sms_segment_mismatches_total",
    "Texts that the provider counts in other segments than we do.",
    ["account"],
    worry="It grows.",
    quiet=True,
)
COST = counter(
    "sms_cost_total",
    "What providers say they charged, in the account's currency.",
    ["account", "category"],
    worry="A day costs twice the day a week before.",
)
CREDIT = gauge(
    "sms_account_credit",
    "What is left of an account's credit, in its currency, as its provider said last.",
    ["account"],
    worry="At the present rate it is used up within two days.",
)
BUDGET_SHARE = gauge(
    "sms_budget_share",
    "Of what an account may cost this day or month, 1 being all; marketing holds then.",
    ["account", "period"],
    worry="0.8 is passed.",
    quiet=True,
)
RATE = gauge("sms_account_segments_per_second", "What an account may send, by its configuration.", ["account"])
HELD = gauge(
    "sms_account_held",
    "1 while an account is held, for whatever reason; the whole deployment's.",
    ["account"],
    worry="It is 1 for two minutes.",
)
ACCOUNT_HOLDS = counter(
    "sms_account_holds_total",
    "Times an account was held.",
    ["account", "reason"],
    worry="Any of `bad_credentials` or `no_credit`.",
    quiet=True,
)
BREAKER_OPEN = gauge(
    "sms_breaker_open",
    "1 while so many messages in a row failed at an account that this process lets it rest between tries.",
    ["account"],
    worry="It is 1 for two minutes.",
)

# The law: consent, STOP, abuse.
STOP_TO_SILENCE_S = histogram(
    "sms_stop_to_silence_seconds",
    "From a withdrawal's own time until it is committed; no request starts later than an account's start window after that.",
    worry="It passes 60 s.",
    quiet=True,
)
PROJECTION_AGE_S = gauge(
    "sms_projection_age_seconds",
    "How old the knowledge of contacts and consents is; marketing holds over 60 s.",
    worry="It passes 60 s.",
)
GUARD = counter(
    "sms_guard_findings_total",
    "Codes that the abuse guard spoke against, by rule and mode.",
    ["rule", "mode"],
    worry="It rises suddenly: somebody makes your form text strangers.",
    quiet=True,
)
DEAD_NUMBERS = counter(
    "sms_dead_numbers_total", "Numbers that are texted no more, as providers refused them twice.", ["by"], quiet=True
)

# Kafka.
LAG = gauge("sms_lag_records", "Records not read or not finished.", ["source", "topic"])
LAG_S = gauge(
    "sms_lag_seconds",
    "Age of the oldest record that is not finished; 0 if all are.",
    ["source", "topic"],
    worry="The urgent lane passes 30 s, the transactional one 5 minutes.",
)
RETENTION_USED = gauge(
    "sms_retention_used_ratio",
    "The same as a share of its topic's retention: at 1, Kafka deletes what was never handled.",
    ["source", "topic"],
    worry="0.5 is passed.",
)
OLDEST_S = gauge(
    "sms_oldest_unfinished_seconds",
    "For how long the oldest unfinished record has kept its partition.",
    ["source"],
    worry="It grows while nothing is held: `sms-worker why-stuck` says why.",
)
WATCHDOG = counter(
    "sms_watchdog_total",
    "Times a runner stood still though it could have moved.",
    ["source", "symptom"],
    worry="Any.",
    quiet=True,
)
OUT_OF_RANGE = counter(
    "sms_offsets_out_of_range_total",
    "Times a partition's log had not the offset that was next.",
    ["source", "topic"],
    worry="Any: records may be lost.",
    quiet=True,
)
START_INCIDENTS = counter(
    "sms_start_incidents_total",
    "Partitions whose committed offset was gone, or whose topic was deleted and made again, by which of the two.",
    ["source", "topic", "reason"],
    worry="Any: find out who deleted the offsets or the topic.",
    quiet=True,
)
RECORDS_LOST = counter(
    "sms_records_lost_total",
    "Records that their topic dropped before they were read.",
    ["source", "topic"],
    worry="Any: an incident.",
    quiet=True,
)
REBALANCES = gauge(
    "sms_rebalances", "Assignments since the start.", ["source"], worry="It rises every few minutes without a deploy."
)
KAFKA_UP = gauge("sms_kafka_up", "1 while Kafka answers this process.", worry="It is 0.")
HELD_WRITES = gauge(
    "sms_kafka_writes_held", "1 while Kafka does not take what is written.", ["stage"], worry="It is 1 for two minutes."
)

# The state store, the process, and what recurs.
DATABASE_UP = gauge("sms_state_store_up", "1 while the database answers this process.", worry="It is 0.")
LEDGER_OPEN = gauge(
    "sms_ledger_open",
    "Messages that are begun and not ended, by their ledger's state; the whole deployment's.",
    ["state"],
    worry="`in_doubt` does not fall.",
    quiet=True,
)
LOOP_LATE_S = histogram(
    "sms_loop_late_seconds", "How late the event loop came to a timer.", worry="The 99th percentile passes 0.5 s."
)
TASKS = gauge("sms_tasks", "Tasks of the event loop.", worry="It climbs for hours.")
KEY_AGE_S = gauge(
    "sms_key_age_seconds",
    "Age of a key in use: of the ring that wraps data keys, or of an account.",
    ["kind", "name"],
    worry="Six months: plan to rotate it. Twelve: do it.",
)
CERTIFICATE_ENDS = gauge(
    "sms_certificate_expires_timestamp_seconds",
    "When the first certificate in a file of the configuration ends, seconds since 1970.",
    ["name"],
    worry="In two weeks.",
    quiet=True,
)
JOB_SUCCEEDED = gauge(
    "sms_task_last_success_timestamp_seconds",
    "When each job that recurs was last done, by anybody; seconds since 1970. `job` is Prometheus's own label.",
    ["task"],
    worry="Upkeep: six hours ago; nightly ones: two days; others: `sms-worker calendar ls`.",
)
RELOADS = counter(
    "sms_config_reloads_total",
    "Times the configuration's folder had changed, by what came of it.",
    ["result"],
    quiet=True,
)
CONFIGURATION = gauge(
    "sms_config_info",
    "1, with the hash of the configuration that this process runs.",
    ["configuration"],
    worry="Processes differ for longer than a deploy.",
)
CONFIGURATION_REFUSED = gauge(
    "sms_config_refused", "1 while what stands in the folder is not what this process runs.", worry="It is 1."
)
INFO = gauge("sms_worker_info", "1, with what is running.", ["version", "deployment"])


@lru_cache(maxsize=4096)
def child(metric: MetricT, *labels: str) -> MetricT:
    """Return the metric's series for *labels*; looked up once, as the client's own look-up costs more than counting."""
    return metric.labels(*labels)
