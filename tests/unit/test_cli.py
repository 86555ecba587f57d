"""The command line as its users type it."""

import io
import json
import re
import shutil
from pathlib import Path

import orjson
import pytest
import typer
from rich.markup import escape
from rich.table import Table
from typer.testing import CliRunner

from tests import builders
from tests.unit.test_configuration import change
from worker.cli import demo, printing
from worker.cli.printing import console, progress, say
from worker.cli.people import plain_cells, read_csv
from worker.cli import app

RUNNER = CliRunner()
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "order.shipped.json"


def run(*arguments: object, text: str | None = None):
    return RUNNER.invoke(app, [str(argument) for argument in arguments], input=text)


def every_command(command=None, path=()):
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, child in command.commands.items():
        yield from every_command(child, (*path, name))


@pytest.mark.parametrize(
    ("path", "command"), list(every_command()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_and_option_explains_itself(path, command) -> None:
    assert len(command.help or "") > 20
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{path}: {parameter.name}"
    assert run(*path, "--help").exit_code == 0


def test_segments_answers_one_object_a_line_and_takes_texts_as_they_are() -> None:
    answer = run("segments", "--json", text='"caf\\u00e9 \\u20ac"\n\n"e\\u0301"\n"' + "a" * 161 + '"\n')

    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [(one["encoding"], one["units"], one["segments"]) for one in lines] == [
        ("GSM-7", 7, 1),
        ("UCS-2", 2, 1),
        ("GSM-7", 161, 2),
    ]
    assert lines[2]["borders"] == [153]


def test_segments_names_the_line_that_is_no_json_string() -> None:
    answer = run("segments", text='"good"\nbad\n')

    assert answer.exit_code == 1
    assert 'line 2: expected a JSON string: "Bonjour"' in answer.output


def test_segments_shows_what_costs_most() -> None:
    answer = run("segments", "Noël à 5 €")

    assert "UCS-2, 10 units, 1 segment" in answer.stdout
    assert "LATIN SMALL LETTER E WITH DIAERESIS" in answer.stdout


def test_check_is_quiet_about_a_good_configuration_and_exits_3_about_a_bad_one(tmp_path) -> None:
    assert run("check").exit_code == 0
    config = Path(shutil.copytree(builders.SHIPPED, tmp_path / "config"))
    change(config / "routes.yaml", "template: order_delivered", "template: order_deliverd")

    answer = run("check", "--config", config, "--json")

    assert answer.exit_code == 3
    (problem,) = json.loads(answer.stdout)
    assert problem["field"] == "routes[4].template"
    assert problem["line"] > 1


def test_explain_tells_the_text_of_the_readme_s_event() -> None:
    answer = run("explain", EXAMPLE, "--json")

    told = json.loads(answer.stdout)
    assert told["became"] == "routed"
    (message,) = told["messages"]
    assert message["outcome"] == "would be sent"
    assert message["text"] == "Bonjour, votre commande #1234 a été expédiée. Suivi : https://suivi.example/AB12CD34"


def fresh(event_type: str, recipient=None, **changes) -> str:
    from datetime import UTC, datetime

    return json.dumps({"specversion": "1.0", "id": "1", "source": "/s", "type": event_type, "time": datetime.now(UTC).isoformat(),
                       "data": builders.data(event_type, recipient, **changes)})  # fmt: skip


def explained(text: str, *options: object) -> dict:
    answer = run("explain", "-", "--json", *options, text=text)
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def test_explain_shows_the_text_and_that_an_unknown_contact_is_waited_for() -> None:
    sent = explained(fresh("order.shipped", {"phone": "+33612345678"}))
    unknown = explained(fresh("order.shipped"))

    assert sent["messages"][0]["text"].startswith("Bonjour, votre commande #1234 a été expédiée.")
    assert sent["not_matched"] == ["route gift-shipped: data.gift_recipient"]
    assert (unknown["messages"][0]["outcome"], unknown["messages"][0]["reason"]) == ("would wait", "unknown_contact")


def test_explain_takes_a_contact_and_consents(tmp_path) -> None:
    card = tmp_path / "contact.json"
    card.write_text(json.dumps(builders.data("contact.updated", attributes={"orders_90d": 4})))
    event = fresh("promotion.announced")

    without = explained(event, "--contact", card)["messages"][0]
    given = explained(event, "--contact", card, "--consent", "offers")["messages"][0]

    assert (without["outcome"], without["reason"]) == ("suppressed", "no_consent")
    assert given["outcome"] == "would be sent"
    assert given["text"].startswith("François, merci") or given["text"].startswith("Francois, merci")


@pytest.mark.parametrize(
    ("text", "became", "why"),
    [
        (fresh("order.shipped").replace("order.shipped", "order.shiped"), "ignored", "did you mean 'order.shipped'?"),
        (fresh("order.shipped", tracking_url="no"), "dead_lettered", "bad_data: data.tracking_url"),
        (fresh("cart.abandoned", total={"amount": 5}), "unrouted", "no_route_matched"),
        (fresh("consent.revoked"), "projected", "nobody is texted"),
        ("{", "dead_lettered", "malformed_json"),
    ],
)
def test_explain_says_why_an_event_becomes_no_text(text: str, became: str, why: str) -> None:
    told = explained(text)

    assert told["became"] == became
    assert why in told["why"]


def test_send_test_texts_only_whom_the_allow_list_names(tmp_path) -> None:
    config = Path(shutil.copytree(builders.SHIPPED, tmp_path / "config"))
    change(config / "worker.yaml", "mode: simulate", "mode: simulate\n  allow_list: ['+33612345678']")

    stranger = run("send-test", "order_shipped", "--to", "+33612345679", "--config", config)
    mine = run("send-test", "order_shipped", "--to", "+33612345678", "--config", config)

    assert "only allow-listed numbers are texted" in str(stranger.exception)
    assert mine.exit_code == 0
    assert "votre commande #1234 a été expédiée" in mine.stdout
    assert "nothing was sent" in mine.output


def test_check_says_what_run_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_WORKER_DELIVERY__MODE", "live")

    answer = run("check")

    assert answer.exit_code == 3
    assert (
        "environment: OCTOPUSH_TRANSACTIONAL_LOGIN: the login of account octopush-transactional is empty"
        in answer.stdout
    )


def test_mistakes_of_routes_are_told_beside_those_of_templates(tmp_path) -> None:
    config = Path(shutil.copytree(builders.SHIPPED, tmp_path / "config"))
    change(config / "routes.yaml", "template: payment_failed", "template: payment_failed, evnt: x")
    change(config / "templates" / "otp_code.yaml", "sender: BOUTIQUE", "sendr: BOUTIQUE")

    answer = run("check", "--config", config)

    assert "routes[7].evnt: no such field" in answer.stdout
    assert "otp_code.yaml" in answer.stdout


def test_a_folder_that_is_none_is_told_in_one_line() -> None:
    answer = run("check", "--config", builders.SHIPPED / "worker.yaml")

    assert answer.exit_code == 3
    assert answer.stdout.count("\n") == 1
    assert "is no folder; --config names the folder" in answer.stdout


def test_explain_names_what_is_wrong_with_a_contact_file(tmp_path) -> None:
    (tmp_path / "contact.json").write_text("not json")

    answer = run("explain", EXAMPLE, "--contact", tmp_path / "contact.json")

    assert "as a contact.updated: Invalid JSON" in str(answer.exception)


def test_every_dead_letter_reason_says_what_it_means_and_what_to_do() -> None:
    from worker.errors import DeadLetterReason
    from worker.explanations import ADVICE

    assert set(ADVICE) == set(DeadLetterReason)
    assert all(text.endswith(".") for advice in ADVICE.values() for text in advice)


def test_a_list_in_another_encoding_is_told_and_formulas_are_defused(tmp_path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes("phone;reason\n+33612345678;supprimé\n".encode("latin-1"))

    with pytest.raises(typer.BadParameter, match="is not UTF-8"):
        list(read_csv(file, ("phone", "reason")))
    assert plain_cells(["=1+1", "@x", "plain", 3, None]) == ["'=1+1", "'@x", "plain", 3, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            'phone,reason\n"+33612345678,stop\n+33612345679,stop\n', ":2: a quote", id="a quote that never closes"
        ),
        pytest.param("phone,phone\n1,2\n", "'phone' stands twice", id="a column twice"),
        pytest.param("phone,reason\n1," + "x" * 140_000 + "\n", ":2: a cell is longer", id="a huge cell"),
    ],
)
def test_a_list_that_cannot_be_read_whole_is_not_read_at_all(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "list.csv"
    file.write_text(text)

    with pytest.raises(typer.BadParameter, match=message):
        list(read_csv(file, ("phone",), ("reason",)))


def test_a_line_with_more_cells_than_the_header_is_left_out_with_both_counts(tmp_path) -> None:
    file = tmp_path / "list.csv"
    file.write_text('phone,wording\n+33612345678,Oui, merci\n+33612345679,"Oui,\nmerci"\n')

    bad, good = read_csv(file, ("phone", "wording"))

    assert bad.wrong.endswith(":2: has 3 cells, and the header 2; put a cell that holds ',' in quotes")
    assert (good.line, good.wrong, good.fields["wording"]) == (3, None, "Oui,\nmerci")


@pytest.mark.parametrize("by_name", [True, False])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, monkeypatch, by_name: bool) -> None:
    content = "\ufeffphone;reason\n+33612345678;stop\n".encode()
    (tmp_path / "list.csv").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="latin-1"))

    (row,) = read_csv(tmp_path / "list.csv" if by_name else Path("-"), ("phone",), ("reason",))

    assert row.fields == {"phone": "+33612345678", "reason": "stop"}


def test_explain_looks_into_a_contact_s_lists(tmp_path) -> None:
    card = tmp_path / "contact.json"
    its = builders.data("contact.updated", attributes={"orders_90d": 1, "interests": ["running"]})
    card.write_text(json.dumps(its))

    told = explained(fresh("promotion.announced", interest="running"), "--contact", card, "--consent", "offers")

    assert [one["route"] for one in told["messages"]] == ["promotion-interest"]


ATTACK = "\x1b]52;c;aGk=\x1b\\\x9b31m[bold]\u202e"  # writes to the clipboard, in a terminal that obeys it


def test_what_a_record_says_is_written_out_and_never_obeyed(capsys) -> None:
    table = Table(box=None)
    table.add_column("id")
    table.add_row(escape(ATTACK))
    console().print(table)
    say(f"found {ATTACK}")
    say(orjson.dumps({"id": ATTACK}))
    shown = capsys.readouterr().out

    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    assert "\\x1b]52;c;aGk=" in shown
    assert json.loads(shown.splitlines()[-1]) == {"id": ATTACK}


def test_every_command_prints_by_the_module_that_knows_how() -> None:
    folder = Path(printing.__file__).parent
    others = [file for file in folder.glob("*.py") if file.name != "printing.py"]

    assert [file.name for file in others if re.search(r"typer\.echo\(|(?<!Plain)\bConsole\(", file.read_text())] == []


def test_there_is_no_bar_where_there_is_no_terminal(capsys) -> None:
    with progress() as bar:
        bar.add_task("contacts", total=1)

    assert capsys.readouterr().err == ""


def test_the_demo_empties_no_folder_that_it_did_not_make(tmp_path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("three years")
    own = tmp_path / "own"
    demo._empty(own)
    (own / "state.db").write_text("")

    with pytest.raises(typer.BadParameter, match="no demo made it"):
        demo._empty(theirs)
    demo._empty(own)

    assert (theirs / "thesis.txt").read_text() == "three years"
    assert [one.name for one in own.iterdir()] == [demo.MARK]
