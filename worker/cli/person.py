"""`person`: one person's data, for the right of access."""

import asyncio
from dataclasses import asdict

import orjson
import typer

from worker.auditing import audit_record
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.people import PhoneOption, read_phone
from worker.cli.printing import say
from worker.messages import person_of
from worker.state.persons import Person, Persons
from worker.tools import open_tools

app = typer.Typer(help="One person's data.", no_args_is_help=True)


@app.command()
def export(phone: PhoneOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """
    Write everything that is kept of a number as JSON: contacts, consents, suppressions, texts, what waits. Audited.

    GDPR art. 15. The output is personal data: give it to the person, and keep no copy.
    """
    number = read_phone(phone)

    async def read() -> Person:
        async with open_tools(config) as tools:
            person = person_of(number.e164, tools.pepper)
            await tools.sink.publish(audit_record(tools.topics, "person.export", person=person))
            return await Persons(tools.database, tools.people).read(person)

    say(orjson.dumps(asdict(asyncio.run(read())), option=orjson.OPT_INDENT_2, default=str))
