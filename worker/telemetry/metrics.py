"""
The catalogue: every metric of the worker, and nowhere else.

Labels come from enums and from names in the configuration, never from events.
"""

from functools import lru_cache
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram

MetricT = TypeVar("MetricT", Counter, Gauge, Histogram)

LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

RECORDS = Counter("sms_records_total", "Records of input topics, by what became of them.", ["intake", "became"])
RECORDS_READ = Counter(
    "sms_records_read_total", "Records read from input topics; the sum of sms_records_total.", ["intake"]
)
MESSAGES_ROUTED = Counter("sms_messages_routed_total", "Messages put on a lane by the router.", ["lane", "route"])
RULE_FAILURES = Counter("sms_rule_failures_total", "People whom a condition could not judge.", ["route"])
MESSAGES_READ = Counter("sms_messages_read_total", "Messages read from a lane.", ["lane"])
MOVED = Counter("sms_messages_moved_total", "Deferred messages put on their lane's due topic.", ["lane"])
WAITING = Gauge(
    "sms_messages_waiting",
    "Messages deferred, by why; the whole deployment's, as the state store says.",
    ["lane", "reason"],
)
MESSAGES_IN_FLIGHT = Gauge("sms_messages_in_flight", "Messages a sender works on now.", ["lane"])
OUTCOMES = Counter(
    "sms_outcomes_total",
    "Outcomes published, by category and reason.",
    ["category", "lane", "outcome", "reason"],
)
DEAD_LETTERS = Counter("sms_dead_letters_total", "Records given up, by stage and reason.", ["stage", "reason"])

SUBMITS = Counter("sms_submits_total", "Requests to a provider, by answer.", ["account", "answer", "reason"])
SUBMIT_S = Histogram(
    "sms_submit_seconds",
    "From the start of a request to the provider's answer.",
    ["account"],
    buckets=LATENCY_S,
)
EVENT_TO_SUBMIT_S = Histogram(
    "sms_event_to_submit_seconds",
    "From the event's own time to the provider's answer.",
    ["lane"],
    buckets=LATENCY_S,
)
LOOKUP_S = Histogram("sms_lookup_seconds", "Waiting for ledger row, contact and key.", ["lane"], buckets=LATENCY_S)
FENCE_WAIT_S = Histogram(
    "sms_fence_wait_seconds",
    "Waiting for the fence: rate, holds, other requests.",
    ["lane"],
    buckets=LATENCY_S,
)
SEGMENTS = Counter("sms_segments_total", "Segments accepted by a provider.", ["account", "category", "encoding"])
COST = Counter("sms_cost_total", "What providers say they charged, in the account's currency.", ["account", "category"])
SEGMENT_MISMATCH = Counter(
    "sms_segment_mismatches_total",
    "Texts that the provider counts in other segments than we do.",
    ["account"],
)
FLOODS_FOUND = Counter("sms_floods_total", "Times a template or account began to hold.", ["reason"])
FLOODS = Gauge(
    "sms_flood_held", "1 for a template or account that holds until `dead-letters release`.", ["scope", "reason"]
)
ACCOUNT_HOLDS = Counter("sms_account_holds_total", "Times an account was held.", ["account", "reason"])
CONCURRENCY_LIMIT = Gauge(
    "sms_concurrency_limit", "Requests that this process may have under way at once.", ["account"]
)
STOP_TO_SILENCE_S = Histogram(
    "sms_stop_to_silence_seconds",
    "From a withdrawal's own time until it is committed; no request starts later than an account's start window after that.",
    buckets=LATENCY_S,
)
GUARD = Counter(
    "sms_guard_findings_total", "Codes that the abuse guard spoke against, by rule and mode.", ["rule", "mode"]
)
BUDGET_SHARE = Gauge(
    "sms_budget_share",
    "Of what an account may cost this day or month, 1 being all; marketing holds then.",
    ["account", "period"],
)
DEAD_NUMBERS = Counter(
    "sms_dead_numbers_total", "Numbers that are texted no more, as providers refused them twice.", ["by"]
)
FENCE_QUEUE = Gauge("sms_fence_queue", "Messages waiting for the fence.", ["account"])

RELOADS = Counter(
    "sms_config_reloads_total", "Times the configuration's folder had changed, by what came of it.", ["result"]
)
CONFIGURATION = Gauge(
    "sms_config_info", "1, with the hash of the configuration that this process runs.", ["configuration"]
)
CONFIGURATION_REFUSED = Gauge("sms_config_refused", "1 while what stands in the folder is not what this process runs.")
KEY_AGE_S = Gauge(
    "sms_key_age_seconds", "Age of a key in use: of the ring that wraps data keys, or of an account.", ["kind", "name"]
)
LAG = Gauge("sms_lag_records", "Records not read or not finished.", ["source", "topic"])
OLDEST_S = Gauge(
    "sms_oldest_unfinished_seconds", "For how long the oldest unfinished record has kept its partition.", ["source"]
)
WATCHDOG = Counter(
    "sms_watchdog_total", "Times a runner stood still though it could have moved.", ["source", "symptom"]
)
LOOP_LATE_S = Histogram("sms_loop_late_seconds", "How late the event loop came to a timer.", buckets=LATENCY_S)
OUT_OF_RANGE = Counter(
    "sms_offsets_out_of_range_total", "Times a partition's log had not the offset that was next.", ["source", "topic"]
)
RECORDS_LOST = Counter(
    "sms_records_lost_total", "Records that their topic dropped before they were read.", ["source", "topic"]
)
REBALANCES = Gauge("sms_rebalances", "Assignments since the start.", ["source"])
HELD_WRITES = Gauge("sms_kafka_writes_held", "1 while Kafka does not take what is written.", ["stage"])
TASKS = Gauge("sms_tasks", "Tasks of the event loop.")
INFO = Gauge("sms_worker_info", "1, with what is running.", ["version", "deployment"])


@lru_cache(maxsize=4096)
def child(metric: MetricT, *labels: str) -> MetricT:
    """Return the metric's series for *labels*; looked up once, as the client's own look-up costs more than counting."""
    return metric.labels(*labels)
