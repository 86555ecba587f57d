"""What a library repeats is written now and then, with how often it was said."""

import logging

from worker.telemetry import log
from worker.telemetry.log import Sparingly


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("aiokafka", logging.ERROR, "f", 1, message, arguments, None)


def test_what_is_repeated_is_written_once_in_ten_seconds_with_how_often_it_was(monkeypatch) -> None:
    now, sparingly = [0.0], Sparingly()
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])

    first = [sparingly.filter(record("no node %s", n)) for n in range(5)]
    other = sparingly.filter(record("no coordinator"))
    now[0] += 11
    again = record("no node %s", 7)

    assert first == [True, False, False, False, False]
    assert other
    assert sparingly.filter(again)
    assert again.getMessage() == "no node 7 (and 4 times since)"
