"""A mistake in the configuration is told with file, line, field, what was found and what would be right."""

import shutil
from pathlib import Path

import pytest

from tests.builders import SHIPPED
from worker.errors import ConfigurationError
from worker.routing.loading import load_configuration
from worker.environment import load_settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "config"))


def change(path: Path, before: str, after: str) -> int:
    """Replace a text in a file; return the line on which it stood."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    return text[: text.index(before)].count("\n") + 1


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(folder)
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_configuration_has_no_problem_and_no_warning() -> None:
    assert load_configuration(SHIPPED).warnings == []


@pytest.mark.parametrize(
    ("file", "before", "after", "field", "told"),
    [
        pytest.param("routes.yaml", "event: order.shipped, template: order_shipped", "event: order.shiped, template: order_shipped",
                     "routes[1].event", "found 'order.shiped'; did you mean 'order.shipped'?", id="unknown event"),
        pytest.param("routes.yaml", "template: order_delivered", "template: order_deliverd",
                     "routes[4].template", "found 'order_deliverd'; did you mean 'order_delivered'?", id="unknown template"),
        pytest.param("routes.yaml", "id: order-delivered", "id: order-shipped",
                     "routes[1].id", "'order-shipped' stands twice", id="an id twice"),
        pytest.param("routes.yaml", "data.total.amount >= 20", "data.totl.amount >= 20",
                     "routes[14].when", "undeclared reference", id="unknown field in a condition"),
        pytest.param("routes.yaml", "data.total.amount >= 20", "data.total.amount >=",
                     "routes[14].when", "Syntax error", id="half a condition"),
        pytest.param("routes.yaml", "data.total.amount >= 20", "'20 + 1'",
                     "routes[14].when", "a condition gives true or false", id="a condition that is a number"),
        pytest.param("routes.yaml", "to: data.gift_recipient", "to: data.giver",
                     "routes[2].to", "order.shipped has data.gift_recipient", id="a recipient that is not there"),
        pytest.param("routes.yaml", "template: payment_failed", "template: payment_failed, wen: 'true'",
                     "routes[7].wen", "no such field", id="a misspelt field"),
        pytest.param("templates/order_shipped.yaml", "lane: transactional", "lane: urgent",
                     "routes[1].event", "orders.events feeds it through the intake normal", id="an urgent route fed by a normal topic"),
        pytest.param("templates/order_shipped.yaml", "data.tracking_url", "data.tracking_link",
                     "variables.link", "did you mean 'data.tracking_url'?", id="a variable that the event lacks"),
        pytest.param("templates/order_shipped.yaml", "{{ link }}", "{{ lien }}",
                     "text.fr", "uses 'lien'; declared under variables: first_name, link, order", id="an undeclared variable"),
        pytest.param("templates/order_shipped.yaml", "{{ link }}", "{{ link }",
                     "text.fr", "line 1 of the text", id="broken syntax"),
        pytest.param("templates/order_shipped.yaml", "expédiée.", "expédiée. " + "Merci de votre confiance. " * 6,
                     "text.fr", "characters in GSM-7, 2 segments; max_segments is 1", id="a text that is too long"),
        pytest.param("templates/order_shipped.yaml", "on_too_long: shorten first_name", "on_too_long: shorten nickname",
                     "", "shortens 'nickname', which is not among the variables", id="shortens what is not there"),
        pytest.param("templates/order_shipped.yaml", ", longest: 36", "",
                     "text.fr", "max_segments is 1. Shorten it, say `longest:`", id="too long in the worst case"),
        pytest.param("templates/order_delivered.yaml", 'default: "", sample: "boîte aux lettres"', 'sample: "boîte aux lettres"',
                     "variables.place", "may be left out by the event; give it a default", id="optional and without a default"),
        pytest.param("templates/account_alert.yaml", "{% else %}un retrait important", "{% elif kind == 'large' %}un retrait important",
                     "text.fr", "has no words for kind large_withdrawal", id="an enum value without its words"),
        pytest.param("templates/order_shipped.yaml", "expédiée.", "expédiée. -20 % ce week-end avec le code NOEL !",
                     "text.fr", "advertises, and is transactional: '-20 %", id="advertising in a transactional text"),
        pytest.param("templates/promotion.yaml", "sender: BOUTIQUEPUB", "sender: BOUTIQUE",
                     "sender", "also sends the transactional template", id="one sender for both"),
        pytest.param("providers.yaml", "stop_mention: STOP au 30101", "stop_mention: Reply STOP",
                     "text.fr", "France needs a short code: STOP au 36xxx", id="a STOP that nobody in France can send"),
        pytest.param("policy.yaml", "brands: [BOUTIQUE]", "brands: [MAGASIN]",
                     "text.fr", "does not say who advertises; name one of MAGASIN", id="marketing without the brand"),
        pytest.param("policy.yaml", 'opens: "08:00"', 'opens: "07:00"',
                     "hours.default", "advertising is allowed between 08:00 and 21:30", id="hours beyond the charter"),
        pytest.param("templates/promotion.yaml", " {{ stop }}", "",
                     "text.fr", "has no STOP mention; write {{ stop }}", id="marketing without STOP"),
        pytest.param("templates/promotion.yaml", "purpose: offers", "purpose: ofers",
                     "purpose", "found 'ofers'", id="unknown purpose"),
        pytest.param("policy.yaml", "purposes: [offers, invitations", "purposes: [deals, invitations",
                     "purpose", "found 'offers'; purposes of policy.yaml are deals", id="a purpose nobody asks for"),
        pytest.param("policy.yaml", "caps:", "existing_customers: {attribute: orders, purposes: [deals]}\ncaps:",
                     "", "existing_customers.purposes: found 'deals'", id="customers for no purpose"),
        pytest.param("templates/promotion.yaml", "sender: BOUTIQUEPUB", "sender: promo",
                     "sender", "could be anybody's", id="a sender that could be anybody"),
        pytest.param("providers.yaml", "    stop_mention: STOP au 30101", "    senders: {BE: '0475123456'}",
                     "accounts.octopush-marketing.senders.BE", "at least one of them a letter", id="a number as sender in Belgium"),
        pytest.param("worker.yaml", "mode: simulate", "mode: simulate\n  countries: [FR, US]",
                     "delivery.countries", "US carries no names", id="a country without names as senders"),
        pytest.param("templates/promotion.yaml", "sender: BOUTIQUEPUB", "sender: '0612345678'",
                     "sender", "at least one of them a letter", id="a number as sender"),
        pytest.param("providers.yaml", "marketing: octopush-marketing", "marketing: octopush-markting",
                     "", "names 'octopush-markting'", id="unknown account"),
        pytest.param("worker.yaml", "start: earliest", "start: begin",
                     "intakes.control.topics[0].start", "found 'begin'", id="unknown start"),
        pytest.param("worker.yaml", "mode: simulate", "mode: real",
                     "delivery.mode", "found 'real'", id="unknown delivery mode"),
        pytest.param("routes.yaml", "event: order.delivered, ", "event: order.delivered, when: 'data.recipient.locale == \"fr\"', ",
                     "routes[4].when", "undeclared reference to 'data.recipient.locale'", id="a condition on the recipient"),
        pytest.param("routes.yaml", "event: order.refunded, ", "event: order.refunded, when: 'has(data.refund.amount)', ",
                     "routes[6].when", "column 1: has() is for contact.attributes", id="has of a field"),
        pytest.param("routes.yaml", "event: order.refunded, ", "event: order.refunded, when: 'data.refund.amount * 2 >= 20', ",
                     "routes[6].when", "write numbers as 2.0", id="a fraction times a whole number"),
        pytest.param("routes.yaml", "event: order.refunded, ", "event: order.refunded, when: 'data.order_id > 3', ",
                     "routes[6].when", "no matching overload", id="a text compared with a number"),
        pytest.param("templates/order_delivered.yaml", "data.place", "data.recipient.locale",
                     "variables.place", "", id="a template that reads the recipient"),
        pytest.param("routes.yaml", "template: cart_reminder\n    delay: 45m", "template: cart_reminder\n    delay: 45",
                     "routes[14].delay", "write 45m", id="a delay without a unit"),
        pytest.param("policy.yaml", 'opens: "08:00"', "opens: 8",
                     "hours.default.opens", "write 08:00", id="an hour without minutes"),
        pytest.param("templates/order_shipped.yaml", "time_to_live: PT48H", "time_to_live: 48",
                     "time_to_live", "write 48m, 48h or 48d", id="a time to live without a unit"),
        pytest.param("worker.yaml", "order.cancelled, ", "order.canceled, ",
                     "intakes.normal.topics[0].events", "did you mean 'order.cancelled'?", id="unknown type in a topic"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(
    folder: Path, file: str, before: str, after: str, field: str, told: str
) -> None:
    change(folder / file, before, after)

    found = problems(folder)

    assert any(told in problem and (f": {field}: " in problem or not field) for problem in found), found


def test_the_line_is_that_of_the_mistake(folder: Path) -> None:
    line = change(folder / "routes.yaml", "event: order.delivered,", "event: order.deliverd,")

    assert any(f"routes.yaml:{line}: routes[4].event" in problem for problem in problems(folder))


def test_every_mistake_of_every_file_is_told_at_once(folder: Path) -> None:
    change(folder / "worker.yaml", "mode: simulate", "mode: real")
    change(folder / "providers.yaml", "max_in_flight: 2", "max_in_flight: none")
    change(folder / "templates/promotion.yaml", "purpose: offers", "purpose: No-Such")

    found = problems(folder)

    assert {problem.split(":")[0].rsplit("/", 1)[-1] for problem in found} == {
        "worker.yaml",
        "providers.yaml",
        "promotion.yaml",
    }


def test_a_shared_account_is_refused(folder: Path) -> None:
    change(folder / "providers.yaml", "marketing: octopush-marketing", "marketing: octopush-transactional")

    (problem,) = problems(folder)

    assert "categories.marketing: shares its account" in problem
    assert "one STOP there would silence login codes" in problem


def test_the_environment_wins_and_its_mistakes_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_WORKER_KAFKA__BOOTSTRAP_SERVERS", "kafka:9092")
    assert load_settings(SHIPPED / "worker.yaml").kafka.bootstrap_servers == "kafka:9092"

    monkeypatch.setenv("SMS_WORKER_WEB__PORT", "ninety")
    with pytest.raises(ConfigurationError, match="environment: SMS_WORKER_WEB__PORT"):
        load_settings(SHIPPED / "worker.yaml")


def test_production_refuses_what_suits_a_laptop(folder: Path) -> None:
    change(folder / "worker.yaml", "deployment: shop-dev", "deployment: shop\nproduction: true")

    found = "\n".join(problems(folder))

    assert "production needs the path of a key ring" in found
    assert "production needs the path of a pepper" in found
    assert "production needs postgresql+asyncpg://" in found


def test_a_missing_file_is_told(folder: Path) -> None:
    (folder / "routes.yaml").unlink()

    assert any("routes.yaml" in problem and "cannot be read" in problem for problem in problems(folder))


def test_a_language_that_one_template_lacks_is_told(tmp_path) -> None:
    config = Path(shutil.copytree(SHIPPED, tmp_path / "config"))
    template = config / "templates" / "order_cancelled.yaml"
    template.write_text(template.read_text().split("\n  en:")[0] + "\n")

    (warning,) = load_configuration(config).warnings

    assert "order_cancelled.yaml" in warning.file
    assert "has no en, which other templates have: whoever reads it gets fr" in warning.message


def test_a_sender_may_have_another_name_in_another_country(tmp_path) -> None:
    config = Path(shutil.copytree(SHIPPED, tmp_path / "config"))
    change(config / "providers.yaml", "    stop_mention: STOP au 30101", "    senders: {BE: BOUTIQUEBE}")

    account = load_configuration(config).accounts.accounts["octopush-marketing"]

    assert account.senders == {"BE": "BOUTIQUEBE"}


def test_a_mistake_under_a_merged_key_has_its_line(folder: Path) -> None:
    file = folder / "templates" / "order_shipped.yaml"
    text = file.read_text()
    merged = "<<: {category: transactional, lane: transactional, sender: BOUTIQUE!, time_to_live: PT48H}\n"
    kept = [
        line for line in text.splitlines() if line.split(":")[0] not in ("category", "lane", "sender", "time_to_live")
    ]
    file.write_text(merged + "\n".join(kept) + "\n")

    assert any("order_shipped.yaml:1: sender: " in problem for problem in problems(folder))
