"""What Prometheus sees of a worker under load, and how a failure becomes a page at a webhook, and ends."""

import asyncio
import json
import re
from dataclasses import replace

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.build import load
from schemas.messages import Category, Lane
from schemas.outcomes import OutcomeKind
from tests import builders
from tests.conftest import REAL_SERVERS
from tests.prometheus import open_alertmanager, open_pager, open_prometheus
from tests.world import World, open_world
from worker.kafka.positions import INCIDENTS
from worker.policy.event_times import TimeDoubt
from worker.delivery.ledger import Answer, State
from worker.delivery.verdicts import ProviderReason
from worker.errors import DeadLetterReason
from worker.policy.guard import Rule
from worker.policy.verdicts import Reason
from worker.routing.loading import load_configuration
from worker.settings import Intake
from worker.state.jobs import Job
from worker.telemetry.catalogue import ENTRIES
from worker.telemetry.resources import ASKED, Resource
from worker.topics import Topics
from worker.watchdog import Symptom

PEOPLE = 20


async def some_of_everything(world: World, round_: int) -> None:
    """Events of every intake; now and then a person who is unknown, and a STOP."""
    for n in range(PEOPLE):
        who = {"contact_id": f"c-{n}"}
        await world.publish("order.shipped", who)
        if n % 4 == 0:
            await world.publish("otp.requested", {"phone": f"+336{71000000 + n:08}"})
    await world.publish("promotion.announced", recipients=[{"contact_id": f"c-{n}"} for n in range(PEOPLE)])
    await world.publish("consent.revoked", {"contact_id": f"c-{round_ % PEOPLE}"})
    for odd in ("+33600000181", f"+3367199{round_:04}"):  # refused, and nobody's
        await world.publish("order.shipped", {"phone": odd})
    await world.send("orders.events", b"{" * (1 + round_), builders.binary("order.shipped", {})["headers"])
    its = builders.binary(f"team{round_}.thing", {"order": round_}, f"o-{round_}", source=f"/shop/{round_}")
    await world.send("orders.events", its["value"], its["headers"])


def allowed_labels(world: World) -> set[str]:
    """Everything that a label may say: the closed lists of the code, and names of the configuration."""
    its = load_configuration(world.config)
    lists = (
        Lane,
        Category,
        OutcomeKind,
        Intake,
        Reason,
        DeadLetterReason,
        ProviderReason,
        Answer,
        State,
        Rule,
        Symptom,
    )
    words = {str(value) for each in (*lists, Resource, Job) for value in each}
    words |= {"routed", "projected", "ignored", "unrouted", "dead_lettered", "observe", "enforce", "GSM-7", "UCS-2"}
    words |= {
        "router",
        "replay",
        "others",
        "urgent",
        "overdue",
        "later",
        "ring",
        "api",
        "refused",
        "",
        *map("{}h".format, range(25)),
    }
    words |= {*ASKED, *INCIDENTS, *TimeDoubt, "poll", "commit", "write"}
    topics = Topics(its.settings.kafka.prefix)
    words |= {f"sender-{lane}" for lane in Lane} | {topics.replay, *map(topics.lane, Lane), *map(topics.lane_due, Lane)}
    words |= {topic.name for intake in its.settings.intakes.values() for topic in intake.topics}
    return words | {row.row.id for found in its.table.by_type.values() for row in found} | set(its.accounts.accounts)


def unforeseen_labels(world: World, text: str) -> set[tuple[str, str, str]]:
    """Labels that an event or a person might have chosen; what tells processes apart is left out."""
    allowed, ours = allowed_labels(world), {"le", "version", "deployment", "configuration"}
    return {
        (sample.name, label, value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples if sample.name.startswith("sms_")
        for label, value in sample.labels.items() if label not in ours and value not in allowed
    }  # fmt: skip


@REAL_SERVERS
async def test_every_panel_answers_on_a_worker_under_load_or_is_quiet_in_health(servers, tmp_path) -> None:
    accounts = {"price_per_segment": 0.05}
    async with open_world(tmp_path, **servers, accounts=accounts) as world:
        await world.people(PEOPLE)
        async with (
            world.process(),
            open_prometheus(tmp_path / "prometheus", [f"127.0.0.1:{world.port()}"]) as prometheus,
        ):
            for round_ in range(12):
                await some_of_everything(world, round_)
                await asyncio.sleep(1)
            unforeseen = unforeseen_labels(world, await world.metrics())
            answers = {}
            for _, panels in load().values():
                for panel in panels:
                    for expression in panel.queries.values():
                        asked = expression.replace("$__rate_interval", "10s")
                        names = re.findall(r"(sms_\w+?)(?:_bucket|_count)?\b", expression)
                        quiet = panel.quiet or (names and all(ENTRIES[name].quiet for name in names))
                        answers[panel.title, expression] = (await prometheus.query(asked), quiet)
            sums: dict = {}
            for _ in range(60):  # until what was published has been handled, and been scraped
                (panel,) = [one for one in load()["overview"][1] if one.title == "Does every record become something?"]
                sums = {name: await prometheus.query(asked) for name, asked in panel.queries.items()}
                if all(float(found[0]["value"][1]) == 0 for found in sums.values() if found):
                    break
                await asyncio.sleep(0.5)

    silent = [where for where, (found, quiet) in answers.items() if not found and not quiet]
    useless = [where for where, (found, _) in answers.items() if found and all(s["value"][1] == "NaN" for s in found)]
    assert not silent
    assert not useless
    assert not unforeseen
    assert {name: float(found[0]["value"][1]) for name, found in sums.items()} == {
        "events without an end": 0, "messages without an end": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"error_rate": 1.0, "error_code": 500}, id="it answers nothing but errors"),
        pytest.param({"latency_ms": 10_000.0}, id="it lets every request hang"),
    ],
)
@REAL_SERVERS
async def test_a_provider_that_fails_pages_once_at_the_webhook_and_the_page_resolves(servers, tmp_path, fault) -> None:
    accounts = {"http_deadline_s": 1.5}
    async with open_world(tmp_path, **servers, accounts=accounts) as world, open_pager() as (pager, hook):
        await world.people(PEOPLE)
        async with (
            world.process(),
            open_alertmanager(tmp_path / "alertmanager", hook) as alertmanager,
            open_prometheus(tmp_path / "prometheus", [f"127.0.0.1:{world.port()}"], alertmanager=alertmanager),
        ):
            await pager.until("heartbeat", "firing", "SmsHeartbeat")
            well = world.provider.behaviour
            world.provider.behaviour = replace(well, **fault)
            await some_of_everything(world, 0)
            fired = await pager.until("pages", "firing", "SmsAccountHeld")
            open_then = re.findall(r"sms_breaker_open\{.*transactional.*\} (\S+)", await world.metrics())
            await asyncio.sleep(10)  # holds come and go meanwhile; the page stands
            flapped = any(status == "resolved" for receiver, status, *_ in pager.heard if receiver == "pages")
            world.provider.behaviour = well
            resolved = await pager.until("pages", "resolved", "SmsAccountHeld", 150)
            heard = list(pager.heard)

    assert fired["annotations"]["runbook_url"].endswith("#smsaccountheld")
    assert "octopush" in fired["annotations"]["summary"]
    assert open_then == ["1.0"]
    assert not flapped
    assert resolved["labels"]["severity"] == "page"
    assert "+336" not in json.dumps(heard)
    # What follows from it is inhibited: the held account is the one page that its failures cause.
    assert {name for receiver, status, name, _ in heard if (receiver, status) == ("pages", "firing")} == {
        "SmsAccountHeld"
    }


async def test_a_held_marketing_account_silences_its_own_lane_and_no_page_for_login_codes(tmp_path) -> None:
    def alert(name: str, **labels: str) -> dict:
        return {"labels": {"alertname": name, "service": "sms-worker", "severity": "page", **labels}}

    told = [
        alert("SmsAccountHeld", account="octopush-marketing"), alert("SmsMarketingLate", source="sender-marketing"),
        alert("SmsUrgentSlow"), alert("SmsLaneLate", source="sender-urgent"), alert("SmsAvailabilityBurnsFast"),
        alert("SmsFailuresHigh", account="octopush-marketing"), alert("SmsFailuresHigh", account="octopush-transactional"),
    ]  # fmt: skip
    async with open_pager() as (_, hook), open_alertmanager(tmp_path / "alertmanager", hook) as address:
        async with aiohttp.ClientSession() as session:
            await session.post(f"http://{address}/api/v2/alerts", json=told)
            await asyncio.sleep(3)
            first = await (await session.get(f"http://{address}/api/v2/alerts")).json()
            await session.post(
                f"http://{address}/api/v2/alerts", json=[alert("SmsAccountHeld", account="octopush-transactional")]
            )
            await asyncio.sleep(3)
            then = await (await session.get(f"http://{address}/api/v2/alerts")).json()

    def silenced(alerts: list[dict]) -> set[tuple[str, str]]:
        return {
            (one["labels"]["alertname"], one["labels"].get("account") or one["labels"].get("source", ""))
            for one in alerts if one["status"]["inhibitedBy"]
        }  # fmt: skip

    assert silenced(first) == {("SmsMarketingLate", "sender-marketing"), ("SmsFailuresHigh", "octopush-marketing")}
    assert silenced(then) == silenced(first) | {
        ("SmsUrgentSlow", ""), ("SmsLaneLate", "sender-urgent"), ("SmsAvailabilityBurnsFast", ""),
        ("SmsFailuresHigh", "octopush-transactional"),
    }  # fmt: skip
