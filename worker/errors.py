"""
Every error this service raises on purpose, grouped by what happens next.

* WorkerError
  + TransientError        hold and try again; nothing is lost, nothing moves on
    - StateUnavailable    the database does not answer
    - BrokerUnavailable   Kafka does not take a record
    - Stopping            the process is ending; the record stays unfinished and is read again
  + Stuck                 end the process, exit code 4, rather than look alive and stand still
  + PermanentError        dead-letter at once: trying again cannot help; `code` says why
    - StateRefused        the database will never take one of these values
  + ConfigurationError    refuse to start, exit code 3; carries every problem found

"No, this person must not be texted" is no error: see `worker.policy`.
"""

from dataclasses import dataclass
from enum import StrEnum


class DeadLetterReason(StrEnum):
    """Why a record became a dead letter: the closed list behind `x-dlq-reason` and the metric's label."""

    NULL_VALUE = "null_value"
    UNREADABLE = "unreadable"
    NOT_CLOUDEVENTS = "not_cloudevents"
    MALFORMED_JSON = "malformed_json"
    BAD_ENVELOPE = "bad_envelope"
    CONFLUENT_FRAMED = "confluent_framed"
    BAD_DATA = "bad_data"
    WRONG_INTAKE = "wrong_intake"
    RULE_FAILED = "rule_failed"
    BAD_NUMBER = "bad_number"
    BAD_MESSAGE = "bad_message"
    TOO_LARGE = "too_large"
    UNKNOWN_TEMPLATE = "unknown_template"
    MISSING_VARIABLE = "missing_variable"
    TEMPLATE_FAILED = "template_failed"
    TEXT_TOO_LONG = "text_too_long"
    NOT_GSM = "not_gsm"
    STOP_MISSING = "stop_missing"
    ADVERTISING = "advertising"
    ID_REUSED = "id_reused"
    SENDER_REFUSED = "sender_refused"
    TEXT_REFUSED = "text_refused"
    UNKNOWN_PROVIDER_CODE = "unknown_provider_code"
    STATE_REFUSED = "state_refused"
    CATEGORY_CHANGED = "category_changed"
    SKIPPED = "skipped"
    INTERNAL_ERROR = "internal_error"


class WorkerError(Exception):
    """Anything this service raises on purpose."""


class TransientError(WorkerError):
    """Hold and try again."""


class StateUnavailable(TransientError):
    """The database does not answer."""


class UnknownKey(StateUnavailable):
    """The key ring lacks a key that wraps a data key: this process has not read the rotated ring yet."""


class NotEverybody(WorkerError):
    """Running processes did not follow in time; what was begun can be gone on with."""


class BrokerUnavailable(TransientError):
    """Kafka does not take a record."""


class LookUpFailed(TransientError):
    """A provider does not say what is known of numbers."""


class CheckAgain(TransientError):
    """The rules have changed while a message waited; nothing is with the provider, and it is checked anew."""


class Stopping(TransientError):
    """The process is ending."""


class Stuck(WorkerError):
    """Nothing moves though it could; the client was rebuilt once already."""


@dataclass(frozen=True, slots=True)
class Failure:
    """
    Why a record cannot be handled, as a value: a kept exception keeps every frame that it passed, and their batch.

    Attributes:
        code: For metrics and the dead letter's header.
        message: What was found and what would be right, without personal data.
        field: Path of what was wrong, for the person who mends it.
    """

    code: DeadLetterReason
    message: str
    field: str | None = None

    def __str__(self) -> str:
        return self.message


class PermanentError(WorkerError):
    """
    Trying again cannot help.

    Attributes:
        code: For metrics and the dead letter's header.
        field: Path of what was wrong, for the person who mends it.
    """

    def __init__(self, code: DeadLetterReason, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field

    @property
    def failure(self) -> Failure:
        """What is kept of it."""
        return Failure(self.code, str(self), self.field)


class StateRefused(PermanentError):
    """The database will never take one of these values; what it says of them is not repeated."""

    def __init__(self, message: str) -> None:
        super().__init__(DeadLetterReason.STATE_REFUSED, message)


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One mistake in the configuration.

    Attributes:
        file: Path as the user gave it, or `environment`.
        line: Line in it, counted from 1; None where there is none.
        field: Path of the field: `routes[3].template`.
        message: What was found and what would be right.
        warning: True if the worker starts all the same.
    """

    file: str
    line: int | None
    field: str
    message: str
    warning: bool = False

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class ConfigurationError(WorkerError):
    """The configuration has mistakes; all that were found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def leaves(error: BaseException) -> list[BaseException]:
    """Return the exceptions that a group holds, however deep; one that is no group is its own leaf."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for one in error.exceptions for leaf in leaves(one)]


def is_cut_off(error: BaseException) -> bool:
    """Return whether *error* is the event loop's word for a connection that was closed under whoever writes to it."""
    return isinstance(error, RuntimeError) and "handler is closed" in str(error)
