"""What an installation sets: where things are, which topics are read, how much may run at once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.messages import Lane
from worker.config_files import Config
from worker.servers import DatabaseSettings, KafkaSettings


class Intake(StrEnum):
    """The class of an input topic: each has its own consumer, group and slots."""

    URGENT = "urgent"
    CONTROL = "control"
    NORMAL = "normal"
    BULK = "bulk"


class DeliveryMode(StrEnum):
    """How far a message goes: nowhere, to listed numbers, to everybody."""

    SIMULATE = "simulate"
    ALLOW_LIST = "allow_list"
    LIVE = "live"


Pointer = Annotated[str, Field(pattern=r"^(/[^/]+)+$", description="JSON Pointer, RFC 6901.")]
E164 = Annotated[str, Field(pattern=r"^\+[1-9]\d{6,14}$", description="+33612345678")]


class JsonPointers(Config):
    """Where a topic of plain JSON keeps what CloudEvents has in its envelope."""

    id: Pointer
    type: Pointer
    time: Pointer | None = None
    data: Pointer | None = Field(default=None, description="The whole value where it is missing.")
    source: str | None = Field(default=None, description="A fixed source; the topic's name where it is missing.")
    types: dict[str, str] = Field(default_factory=dict, description="Their type names to ours.")


class TopicSettings(Config):
    """
    An input topic.

    Attributes:
        name: Of the topic; in one intake only, and outside the worker's own prefix.
        start: Where the deployment begins at its first start. Required: a year-old topic is not replayed by accident.
        events: The event types that come here; a type that an urgent route waits for may only come to urgent topics.
        partitions: For `topics create` only; other teams' topics are usually made by them.
    """

    name: str = Field(pattern=r"^[\w.-]{1,200}$")
    start: Literal["earliest", "latest"]
    events: tuple[str, ...] = Field(min_length=1)
    json_pointers: JsonPointers | None = Field(default=None, description="The topic holds plain JSON.")
    partitions: int = Field(default=6, ge=1)


class IntakeSettings(Config):
    """
    An intake.

    Attributes:
        poll_records: The most that one poll takes.
    """

    topics: tuple[TopicSettings, ...] = ()
    poll_records: int = Field(default=1000, ge=1, le=10_000)


class LaneSettings(Config):
    """
    A lane.

    Attributes:
        slots: Messages that one process works on at once, each a recipient of its own.
        buffered_records: Messages that may wait in memory; then the lane's partitions pause.
        buffered_bytes: The same, in bytes.
        partitions: For `topics create`; more of them let more processes share the lane.
    """

    slots: int = Field(default=50, ge=1, le=2_000)
    buffered_records: int = Field(default=1_000, ge=1)
    buffered_bytes: int = Field(default=16 * 2**20, ge=2**16)
    partitions: int = Field(default=12, ge=1)


class DeliverySettings(Config):
    """
    How far messages go.

    Attributes:
        mode: `simulate` hands nothing over; `allow_list` only what is for the numbers listed; `live` everything.
        allow_list: Numbers in E.164; also whom `send-test` may text.
    """

    mode: DeliveryMode = DeliveryMode.SIMULATE
    allow_list: tuple[E164, ...] = ()
    countries: frozenset[Annotated[str, Field(pattern="^[A-Z]{2}$")]] = Field(
        default=frozenset({"FR", "GP", "MQ", "GF", "RE", "YT", "PM", "BL", "MF"}),
        description="ISO 3166 of the numbers that are served, by metadata and not by prefix.",
    )


class WaitingSettings(Config):
    """
    How long what is not known yet is waited for.

    Attributes:
        unknown_contact_s: A contact whose event may be under way; then the message is suppressed.
        unknown_template_s: A template of the next version, while it is rolled out; then it is a dead letter.
    """

    unknown_contact_s: float = Field(default=60, ge=0, le=3600)
    unknown_template_s: float = Field(default=600, ge=0, le=86_400)


class SecretFiles(Config):
    """
    Where the secrets are; in the data folder, and made there on first run, unless production.

    Attributes:
        key_ring: Path of the key ring that wraps people's data keys.
        pepper: Path of the pepper that hashes are keyed with.
    """

    key_ring: Path | None = None
    pepper: Path | None = None


class WatchdogSettings(Config):
    """
    When a process that stands still ends itself, so that it is started anew.

    Attributes:
        stuck_s: Nothing moved for so long though it could have; the client is rebuilt once, then the process ends.
        away_s: So long a broker or database that is away excuses standing still.
        blocked_s: The event loop did nothing at all.
    """

    stuck_s: float = Field(default=60, ge=1)
    away_s: float = Field(default=600, ge=1)
    blocked_s: float = Field(default=20, ge=1)


class WebSettings(Config):
    """
    Where health and metrics answer.

    Attributes:
        host: Address to listen on.
        port: 0 takes a free one, and logs it.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=9464, ge=0, le=65535)


class TracingSettings(Config):
    """
    Where spans go, with `sms-worker[tracing]`.

    Attributes:
        endpoint: OTLP over HTTP: `http://collector:4318/v1/traces`. None makes no spans.
        share: Of the traces that events' emitters sampled.
    """

    endpoint: str | None = Field(default=None, pattern="^https?://")
    share: float = Field(default=1.0, ge=0, le=1)


class Settings(BaseSettings):
    """
    Everything that an installation sets, from `worker.yaml` and from the environment, which wins.

    A field's variable is its path in capitals: `SMS_WORKER_KAFKA__BOOTSTRAP_SERVERS`.

    Attributes:
        data_dir: Where SQLite, key ring and pepper are unless said otherwise.
    """

    model_config = SettingsConfigDict(
        env_prefix="SMS_WORKER_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    deployment: str = Field(
        pattern=r"^[a-z][a-z0-9-]{1,40}$", description="Part of every message id: staging is not production."
    )
    production: bool = Field(default=False, description="Refuse what only suits a laptop.")
    data_dir: Path = Path(".data")
    kafka: KafkaSettings = KafkaSettings()
    intakes: dict[Intake, IntakeSettings]
    lanes: dict[Lane, LaneSettings] = Field(default_factory=dict)
    database: DatabaseSettings = DatabaseSettings()
    delivery: DeliverySettings = DeliverySettings()
    waiting: WaitingSettings = WaitingSettings()
    secret_files: SecretFiles = SecretFiles()
    pause_file: Path | None = Field(
        default=None,
        description="Scopes that are paused, one a line (`lane:marketing`); `paused` in the data folder unless said.",
    )
    web: WebSettings = WebSettings()
    tracing: TracingSettings = TracingSettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    drain_s: float = Field(default=20, gt=0, description="How long SIGTERM waits for what is under way.")
    start_patience_s: float = Field(
        default=120,
        gt=0,
        description="How long a start waits for Kafka and the state store; then it fails, with exit code 1.",
    )
    projection_max_age_s: float = Field(
        default=60, gt=0, description="Marketing holds when consent is known no later than this."
    )

    @model_validator(mode="after")
    def _topics_once(self) -> "Settings":
        names = [topic.name for intake in self.intakes.values() for topic in intake.topics]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"topic {twice[0]!r} stands in two intakes; one consumer must own it")
        own = [name for name in names if name.startswith(self.kafka.prefix + ".")]
        if own:
            raise ValueError(f"topic {own[0]!r} begins with the worker's own prefix {self.kafka.prefix!r}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, which is handed in as arguments."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    def lane(self, lane: Lane) -> LaneSettings:
        """Return the settings of *lane*, or the defaults."""
        return self.lanes.get(lane, LaneSettings())

    @property
    def key_ring_file(self) -> Path:
        """Where the key ring is."""
        return self.secret_files.key_ring or self.data_dir / "key-ring.json"

    @property
    def pauses_in(self) -> Path:
        """Where the file of what is paused is."""
        return self.pause_file or self.data_dir / "paused"

    @property
    def pepper_file(self) -> Path:
        """Where the pepper is."""
        return self.secret_files.pepper or self.data_dir / "pepper"
