"""An emitter's trace goes on through router, lanes, fence and provider: spans at a real OTLP collector, exemplars, log lines."""

import json
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests import builders
from tests.conftest import REAL_SERVERS
from tests.world import TOPIC_OF, World, open_world

pytestmark = REAL_SERVERS
TRACE, EMITTER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REFUSED = "+33600000103"


@asynccontextmanager
async def open_collector():
    """Take OTLP over HTTP until the block ends; gives the spans that came, and the address."""
    spans: list = []

    async def take(request: web.Request) -> web.Response:
        told = ExportTraceServiceRequest.FromString(await request.read())
        spans.extend(span for one in told.resource_spans for scope in one.scope_spans for span in scope.spans)
        return web.Response(content_type="application/x-protobuf")

    application = web.Application()
    application.add_routes([web.post("/v1/traces", take)])
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield spans, f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    finally:
        await runner.cleanup()


async def traced(
    world: World, event_id: str, phone: str, flags: str = "01", trace: str = TRACE, **changes: str
) -> None:
    payload = builders.data("order.shipped", {"phone": phone}, **changes)
    its = builders.binary("order.shipped", payload, event_id, None, traceparent=f"00-{trace}-{EMITTER}-{flags}")
    await world.send(TOPIC_OF["order"], its["value"], its["headers"], b"k")


async def test_a_trace_goes_on_from_its_event_to_the_provider_and_names_nobody(servers, tmp_path) -> None:
    async with open_collector() as (spans, endpoint):
        settings = {"tracing": {"endpoint": endpoint}}
        async with open_world(tmp_path, **servers, settings=settings) as world:
            async with world.process():
                await traced(world, "e-1", "+33612345678")
                await traced(
                    world, "e-2", REFUSED, flags="03"
                )  # sampled, and its id is random: level 2 of the standard
                await traced(world, "e-3", "+33612345679", flags="00", trace="a" * 32)
                await world.publish("order.shipped", {"phone": "+33612345670"}, event_id="plain")
                outcomes = await world.read("sms.outcomes", lambda found: len(found) >= 4)
                url = f"http://127.0.0.1:{world.port()}/metrics"
                async with aiohttp.ClientSession() as session:
                    plain = await (await session.get(url)).text()
                    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
                    openmetrics = await (await session.get(url, headers=accept)).text()
            log = [json.loads(line) for line in world.log.read_text().splitlines() if line.startswith("{")]

    told = {json.loads(one.value)["data"]["event"]["id"]: json.loads(one.value) for one in outcomes}
    assert told["e-1"]["traceparent"] == f"00-{TRACE}-{EMITTER}-01"
    sent = {text.to: text.traceparent for text in world.provider.sent}
    assert sent["+33612345678"].split("-")[1] == TRACE
    assert sent["+33612345679"] == f"00-{'a' * 32}-{EMITTER}-00"  # no span of ours: the event's own goes on
    assert sent["+33612345670"] is None
    by_id = {span.span_id.hex(): span for span in spans}
    names = sorted(span.name for span in spans)
    each = ["check", "decode", "deliver transactional", "fence", "look up", "route", "submit"]
    assert names == sorted(each * 2)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    for span in spans:
        parent = span.parent_span_id.hex()
        if span.name in ("decode", "route", "deliver transactional"):
            assert parent == EMITTER
        else:
            assert by_id[parent].name == "deliver transactional"
        assert span.end_time_unix_nano > span.start_time_unix_nano
    assert not any(number in str(spans) for number in ("612345678", "600000103"))
    assert f'trace_id="{TRACE}"' in openmetrics
    assert f'trace_id="{"a" * 32}"' not in openmetrics  # its emitter keeps no such trace
    assert "trace_id" not in plain
    (refused,) = [line for line in log if line["event"] == "sms.not_accepted"]
    assert refused["trace_id"] == TRACE


async def test_what_became_no_message_names_its_trace_in_letter_outcome_and_log(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        async with world.process():
            await traced(world, "e-1", "+33612345678", tracking_url="no")
            await traced(world, "e-2", "+33612345679")
            (letter,) = await world.read("sms.router.dlq", lambda found: len(found) >= 1)
            records = await world.read("sms.outcomes", lambda found: len(found) >= 2)
        log = [json.loads(line) for line in world.log.read_text().splitlines() if line.startswith("{")]

    outcomes = [json.loads(record.value) for record in records]
    (outcome,) = [one for one in outcomes if one["type"] == "sms.dead_lettered"]
    assert [one["traceparent"] for one in outcomes] == [f"00-{TRACE}-{EMITTER}-01"] * 2
    assert [text.traceparent for text in world.provider.sent] == [f"00-{TRACE}-{EMITTER}-01"]  # without the extra, too
    assert (
        dict(letter.headers)["x-dlq-event-traceparent"].decode() == outcome["traceparent"] == f"00-{TRACE}-{EMITTER}-01"
    )
    assert "traceparent" not in outcome["data"]["event"]
    assert [line["trace_id"] for line in log if line["event"] == "router.dead_letter"] == [TRACE]


async def test_without_a_collector_nothing_is_lost_and_a_worker_ends_in_time(servers, tmp_path) -> None:
    settings = {"tracing": {"endpoint": "http://127.0.0.1:9/v1/traces"}}
    async with open_world(tmp_path, **servers, settings=settings) as world:
        async with world.process() as process:
            await traced(world, "e-1", "+33612345678")
            outcomes = await world.outcomes(1)
        assert process.returncode == 0

    assert [its[-1]["outcome"] for its in outcomes.values()] == ["accepted"]
