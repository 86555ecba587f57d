"""The sandbox speaks the provider's API with the provider's leniency, and the real client reads its every answer rightly."""

import asyncio
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
from pydantic import SecretStr

from tests.builders import account
from worker.delivery.ledger import Answer
from worker.delivery.verdicts import ProviderReason, Sms
from worker.demo.broker import free_port
from worker.providers.octopush import open_octopush
from worker.sandbox.provider import Behaviour, SandboxProvider
from worker.sandbox.server import open_sandbox

TEXT = "Bonjour, votre commande #1234 a été expédiée."


@asynccontextmanager
async def sandbox(behaviour: Behaviour | None = None, login: str = "me", **changes):
    provider = SandboxProvider(behaviour)
    async with open_sandbox(provider, "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}"
        its = account(base_url=f"{url}/v1/public", http_deadline_s=1, **changes)
        async with open_octopush(its, (login, SecretStr("key"))) as client, aiohttp.ClientSession(url) as raw:
            yield provider, client, raw


def sms(to: str = "+33612345678", **changes) -> Sms:
    return Sms(**{"to": to, "text": TEXT, "sender": "BOUTIQUE", "marketing": False, **changes})


async def test_a_text_is_accepted_with_its_ticket_cost_and_segments() -> None:
    async with sandbox() as (provider, client, _):
        got = await client.send(sms(), "m-1")

    assert (got.answer, got.cost, got.segments) == (Answer.ACCEPTED, 0.05, 1)
    (sent,) = provider.sent
    assert (sent.to, sent.text, sent.purpose, sent.ref, sent.account) == ("+33612345678", TEXT, "alert", "m-1", "me")


@pytest.mark.parametrize(
    ("to", "answer", "reason"),
    [
        ("+33600000103", "recipient_refused", "number_refused"),
        ("+33600000104", "our_fault", "no_credit"),
        ("+33600000401", "our_fault", "bad_credentials"),
        ("+33600000429", "not_sent", "rate_limited"),
        ("+33600000500", "ambiguous", "server_error"),
        ("+33600001340", "our_fault", "text_refused"),
        ("+33600009001", "ambiguous", "timed_out"),
        ("+33600009002", "ambiguous", "connection_lost"),
        ("+33600009003", "ambiguous", "unreadable_answer"),
        ("+33600009006", "ambiguous", "connection_lost"),
    ],
)
async def test_a_number_asks_for_its_fault(to: str, answer: str, reason: str) -> None:
    async with sandbox() as (_, client, _raw):
        got = await client.send(sms(to), "m-1")

    assert (got.answer, got.reason) == (answer, reason)


async def test_a_refused_connection_is_the_one_failure_that_proves_nothing_was_sent() -> None:
    its = account(base_url=f"http://127.0.0.1:{free_port()}/v1/public", http_deadline_s=1)
    async with open_octopush(its, ("me", SecretStr("key"))) as client:
        got = await client.send(sms(), "m-1")

    assert (got.answer, got.reason) == (Answer.NOT_SENT, ProviderReason.CONNECT_FAILED)


async def test_an_answer_that_arrives_in_pieces_is_read_whole() -> None:
    async def dripping(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"code": 104, "message": "not enough credit"}'
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n" % len(body))
        for byte in body:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.001)
        writer.close()

    server = await asyncio.start_server(dripping, "127.0.0.1", 0)
    its = account(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", http_deadline_s=2)
    async with server, open_octopush(its, ("me", SecretStr("key"))) as client:
        got = await client.send(sms(), "m-1")

    assert got.reason is ProviderReason.NO_CREDIT


@pytest.mark.parametrize(("idempotency", "texts", "answer"), [(True, 1, "already_seen"), (False, 2, "accepted")])
async def test_a_request_id_is_remembered_or_not(idempotency: bool, texts: int, answer: str) -> None:
    async with sandbox(Behaviour(idempotency=idempotency)) as (provider, client, _):
        await client.send(sms(), "m-1")
        again = await client.send(sms(), "m-1")

    assert again.answer == answer
    assert provider.summary()["texts"] == texts
    assert provider.summary()["texted_twice"] == ([] if idempotency else ["m"])


async def test_without_purpose_a_text_is_wholesale_and_refused_without_its_stop() -> None:
    body = {
        "recipients": [{"phone_number": "+33612345678"}],
        "text": TEXT,
        "sender": "BOUTIQUE",
        "purpos": "alert",
        "mood": 7,
    }
    headers = {"api-login": "me", "api-key": "key"}
    async with sandbox() as (provider, _, raw):
        async with raw.post("/v1/public/sms-campaign/send", json=body, headers=headers) as refused:
            assert (refused.status, (await refused.json())["code"]) == (400, 121)
        body["text"] += " STOP au 30101"
        async with raw.post("/v1/public/sms-campaign/send", json=body, headers=headers) as accepted:
            assert accepted.status == 201

    assert provider.sent[0].purpose == "wholesale"


@pytest.mark.parametrize("headers", [{}, {"api-login": "me"}, {"api-login": "me", "api-key": "revoked"}])
async def test_nobody_sends_without_a_key(headers) -> None:
    async with (
        sandbox() as (_, _client, raw),
        raw.post("/v1/public/sms-campaign/send", json={}, headers=headers) as answer,
    ):
        assert (await answer.json())["code"] == 101


async def test_a_stop_silences_one_account_and_not_the_other() -> None:
    async with sandbox() as (provider, client, raw):
        await raw.post("/sandbox/stop", json={"login": "me", "number": "+33612345678"})
        mine = await client.send(sms(), "m-1")

    assert mine.answer is Answer.RECIPIENT_REFUSED
    assert (
        provider.send(
            "other",
            {"recipients": [{"phone_number": "+33612345678"}], "text": "x", "sender": "SHOP", "purpose": "alert"},
        ).status
        == 201
    )


async def test_balance_and_hlr_answer_as_documented() -> None:
    headers = {"api-login": "me", "api-key": "key"}
    async with sandbox() as (_, client, raw):
        await client.send(sms(), "m-1")
        async with raw.get("/v1/public/wallet/check-balance", headers=headers) as answer:
            assert await answer.json() == {"amount": 9999.95, "unit": "euros"}
        numbers = {"phone_numbers": ["+33612345678", "+3361"]}
        async with raw.post("/v1/public/contact/hlr-request", json=numbers, headers=headers) as answer:
            assert [(one["status"], one["line_status"]) for one in await answer.json()] == [
                ("valid", "live"),
                ("invalid", "dead"),
            ]


async def test_its_behaviour_changes_while_it_runs_and_a_misspelt_setting_is_told() -> None:
    async with sandbox() as (_, client, raw):
        async with raw.post("/sandbox/behaviour", json={"latency": 5}) as answer:
            assert answer.status == 400
            assert "no such setting: latency; there are error_code" in await answer.text()
        await raw.post("/sandbox/behaviour", json={"error_rate": 1.0, "error_code": 104, "latency_ms": 150})
        began = time.monotonic()
        got = await client.send(sms(), "m-1")
        assert time.monotonic() - began >= 0.15
        await raw.post("/sandbox/behaviour", json={"error_rate": 0.0, "latency_ms": 0})
        again = await client.send(sms(), "m-1")
        async with raw.get("/sandbox/counts") as answer:
            counts = await answer.json()
        async with raw.get("/") as page:
            assert "phones" in await page.text()

    assert (got.reason, again.answer) == (ProviderReason.NO_CREDIT, Answer.ACCEPTED)
    assert counts == {"requests": {"m-1": 2}, "texts": {"m": 1}}


async def test_simulation_mode_sends_and_charges_nothing() -> None:
    async with sandbox(simulation_mode=True) as (provider, client, _):
        got = await client.send(sms(), "m-1")

    assert got.answer is Answer.ACCEPTED
    assert len(provider.sent) == 0
