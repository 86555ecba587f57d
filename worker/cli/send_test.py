"""`send-test`: a template on one's own phone."""

import asyncio
import uuid
from typing import Annotated

import typer

from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import say
from worker.content.composing import Text, compose
from worker.delivery.accounts import Account
from worker.delivery.ledger import Answer
from worker.delivery.verdicts import Sms, Submitted
from worker.errors import ConfigurationError, Problem
from worker.policy.number import Number, check_number
from worker.providers.octopush import open_octopush
from worker.routing.loading import load_configuration
from worker.routing.table import nearest
from worker.routing.texts import sample_values
from worker.settings import DeliveryMode


def send_test(
    template: Annotated[str, typer.Argument(help="Which template: order_shipped.")],
    to: Annotated[str, typer.Option("--to", help="A number of the allow list, in E.164.")],
    locale: Annotated[str | None, typer.Option(help="fr, en; the template's first unless named.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Send a template with its sample values to your own phone, through the account its category uses.

    The number must stand in `delivery.allow_list`, whatever the delivery mode: nobody else is texted by a slip of the hand.
    """
    configuration = load_configuration(config)
    found = configuration.templates.by_id.get(template)
    if found is None:
        raise typer.BadParameter(
            f"found {template!r}; {nearest(template, configuration.templates.by_id)}", param_hint="TEMPLATE"
        )
    delivery = configuration.settings.delivery
    number = check_number(to, delivery.countries)
    if not isinstance(number, Number) or number.e164 not in delivery.allow_list:
        problem = Problem(
            str(config / "worker.yaml"),
            None,
            "delivery.allow_list",
            "the number is not on it; only allow-listed numbers are texted",
        )
        raise ConfigurationError([problem])
    name, account = configuration.accounts.of(found.category)
    text = compose(found, sample_values(found), locale=locale, zone=None, stop=account.stop_mention)
    say(text.body)
    if delivery.mode is DeliveryMode.SIMULATE:
        say("delivery.mode is simulate: nothing was sent", err=True)
        return
    sms = Sms(number.e164, text.body, text.sender, found.purpose is not None)
    submitted = asyncio.run(_send(name, account, sms))
    say(f"{submitted.answer} ({submitted.reason}), {_cost(text, submitted)}", err=True)
    if submitted.answer is not Answer.ACCEPTED:
        raise typer.Exit(1)


def _cost(text: Text, submitted: Submitted) -> str:
    return f"{text.segmentation.segments} segment(s), cost {submitted.cost} {submitted.currency}"


async def _send(name: str, account: Account, sms: Sms) -> Submitted:
    async with open_octopush(account, account.credentials.read(name)) as octopush:
        return await octopush.send(sms, f"test-{uuid.uuid4()}")
