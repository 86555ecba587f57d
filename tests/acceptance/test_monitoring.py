"""What Prometheus sees of a worker under load, and how a failure becomes a page at a webhook, and ends."""

import asyncio
import json
import re

import aiohttp

from deploy.grafana.build import load
from tests.conftest import REAL_SERVERS
from tests.prometheus import open_alertmanager, open_pager, open_prometheus
from tests.world import World, open_world
from worker.telemetry.catalogue import ENTRIES

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
            answers = {}
            for _, panels in load().values():
                for panel in panels:
                    for expression in panel.queries.values():
                        asked = expression.replace("$__rate_interval", "10s")
                        quiet = panel.quiet or all(
                            ENTRIES[name].quiet for name in re.findall(r"(sms_\w+?)(?:_bucket|_count)?\b", expression)
                        )
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
    assert {name: float(found[0]["value"][1]) for name, found in sums.items()} == {
        "events without an end": 0, "messages without an end": 0,
    }  # fmt: skip


@REAL_SERVERS
async def test_a_provider_that_fails_pages_once_at_the_webhook_and_the_page_resolves(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world, open_pager() as (pager, hook):
        await world.people(PEOPLE)
        async with (
            world.process(),
            open_alertmanager(tmp_path / "alertmanager", hook) as alertmanager,
            open_prometheus(tmp_path / "prometheus", [f"127.0.0.1:{world.port()}"], alertmanager=alertmanager),
        ):
            await pager.until("heartbeat", "firing", "SmsHeartbeat")
            world.provider.behaviour.error_rate, world.provider.behaviour.error_code = 1.0, 401
            await some_of_everything(world, 0)
            fired = await pager.until("pages", "firing", "SmsAccountHeld")
            world.provider.behaviour.error_rate = 0.0
            resolved = await pager.until("pages", "resolved", "SmsAccountHeld", 120)
            heard = list(pager.heard)

    assert fired["annotations"]["runbook_url"].endswith("#smsaccountheld")
    assert "octopush" in fired["annotations"]["summary"]
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
