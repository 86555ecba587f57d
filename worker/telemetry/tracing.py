"""
Traces, for who has OpenTelemetry: what a record waits for, as spans below its emitter's own.

Off unless `tracing.endpoint` is set; then `sms-worker[tracing]` must be installed. An event that carries no `traceparent`,
or one that is not sampled, makes no spans. No number, name or text is in any of them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog

from worker import __version__
from worker.errors import ConfigurationError, Problem

log = structlog.get_logger(__name__)
FLUSH_S = 5.0
Attributes = dict[str, str | int]
# An error's own words may hold a person's value.
NO_TEXTS = {"record_exception": False, "set_status_on_exception": False}


def is_sampled(traceparent: str) -> bool:
    """Return whether its emitter keeps this trace: the lowest bit of its flags, whatever the others say."""
    try:
        return bool(int(traceparent[-2:], 16) & 1)
    except ValueError:
        return False


class Spans:
    """
    Makes spans; this one makes none.

    Attributes:
        on: Whether there is anybody to make them for: then a look at the clock is worth it.
    """

    on = False

    @contextmanager
    def below(self, traceparent: str | None, name: str, attributes: Attributes) -> Iterator[None]:
        """Let the block be a span below what *traceparent* (W3C) names, and what it calls below it."""
        del traceparent, name, attributes
        yield

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Let the block be a span below the one it is in; none, outside of any."""
        del name
        yield

    def past(self, traceparent: str | None, name: str, began_ns: int, attributes: Attributes) -> None:
        """Note a span that began at *began_ns* (nanoseconds since 1970) and ends now."""

    def traceparent(self) -> str | None:
        """Return the `traceparent` of the span this is in, for whoever is called."""
        return None


class Traced(Spans):
    """Makes them with OpenTelemetry."""

    on = True

    def __init__(self, tracer: Any) -> None:
        from opentelemetry import trace  # noqa: PLC0415  an optional extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._trace = trace
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    def _parent(self, traceparent: str | None) -> Any:
        """Return the context of a parent that is sampled; None if there is none."""
        if not traceparent or not is_sampled(traceparent):
            return None
        return self._propagator.extract({"traceparent": traceparent})

    @contextmanager
    def below(self, traceparent: str | None, name: str, attributes: Attributes) -> Iterator[None]:
        """See `Spans`."""
        if (parent := self._parent(traceparent)) is None:
            yield
            return
        with self._tracer.start_as_current_span(
            name, context=parent, kind=self._trace.SpanKind.CONSUMER, attributes=attributes, **NO_TEXTS
        ):
            yield

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """See `Spans`."""
        if not self._trace.get_current_span().is_recording():
            yield
            return
        with self._tracer.start_as_current_span(name, **NO_TEXTS):
            yield

    def past(self, traceparent: str | None, name: str, began_ns: int, attributes: Attributes) -> None:
        """See `Spans`."""
        if (parent := self._parent(traceparent)) is not None:
            kind = self._trace.SpanKind.CONSUMER
            self._tracer.start_span(name, context=parent, kind=kind, attributes=attributes, start_time=began_ns).end()

    def traceparent(self) -> str | None:
        """See `Spans`."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")


_spans = Spans()


def spans() -> Spans:
    """Return what makes spans in this process."""
    return _spans


@asynccontextmanager
async def open_tracing(endpoint: str | None, deployment: str, share: float) -> AsyncIterator[None]:
    """
    Send spans to *endpoint* (OTLP over HTTP) until the block ends.

    Args:
        endpoint: As `http://collector:4318/v1/traces`; None makes none.
        deployment: Told with each.
        share: Of the traces that their emitters sampled.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    global _spans  # noqa: PLW0603  one process, one exporter: as OpenTelemetry has it, too
    if endpoint is None:
        yield
        return
    provider = _provider(endpoint, deployment, share)
    _spans = Traced(provider.get_tracer("sms-worker", __version__))
    try:
        yield
    finally:
        _spans = Spans()
        try:
            async with asyncio.timeout(FLUSH_S):
                await asyncio.to_thread(provider.shutdown)
        except TimeoutError:
            log.warning("tracing.not_flushed", endpoint=endpoint)


def _provider(endpoint: str, deployment: str, share: float) -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415
    except ImportError as error:
        told = "needs OpenTelemetry: pip install 'sms-worker[tracing]'"
        raise ConfigurationError([Problem("worker.yaml", None, "tracing.endpoint", told)]) from error
    # A parent that is sampled is asked for its share again: the worker may want fewer than its emitters.
    ratio = TraceIdRatioBased(share)
    resource = Resource.create(
        {"service.name": "sms-worker", "service.version": __version__, "deployment.environment": deployment}
    )
    provider = TracerProvider(sampler=ParentBased(ratio, remote_parent_sampled=ratio), resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=FLUSH_S)))
    return provider
