"""Where a decision comes from: the line of the rule, so that whoever disagrees knows whom to ask."""

from importlib.metadata import version
from pathlib import Path

from schemas.messages import Message
from worker.config_files import Place, YamlFile, load_yaml
from worker.routing.loading import Configuration

CLOCK, STORE = "the database's clock", "the state store"


class Sources:
    """Names files and lines of one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        path = configuration.folder / "policy.yaml" if configuration.folder else Path("policy.yaml")
        self._policy = load_yaml(path) if path.exists() else None

    def template(self, message: Message, *place: str) -> str:
        """Return where a field of the message's template stands."""
        file = self._configuration.templates.files.get(message.template)
        return _line(file, place) if file else f"template {message.template}"

    def route(self, message: Message, *place: str) -> str:
        """Return where the message's route stands."""
        file = self._configuration.table.file
        rows = file.content.get("routes", ())
        index = next((i for i, row in enumerate(rows) if row.get("id") == message.route), None)
        return f"route {message.route}" if index is None else _line(file, ("routes", index, *place))

    def policy(self, *place: str) -> str:
        """Return where a rule of policy.yaml stands, or that it is the default."""
        if self._policy is None or place[0] not in (self._policy.content or {}):
            return f"default of {'.'.join(place)}"
        return _line(self._policy, place)

    def of(self, check: str, message: Message) -> str:
        """Return the source of a check before the fence."""
        numbers = f"phonenumbers {version('phonenumbers')}; worker.yaml, delivery.countries"
        return {
            "expiry": f"{self.template(message, 'time_to_live')}; {CLOCK}",
            "timing": f"{self.route(message, 'delay')}; {CLOCK}",
            "key": STORE,
            "contact": STORE,
            "route": self.route(message, "when"),
            "number": numbers,
            "delivery": "worker.yaml, delivery",
            "hours": f"{self.policy('hours')}; {CLOCK}",
            "text": self.template(message, "text"),
        }[check]


def _line(file: YamlFile, place: Place) -> str:
    return f"{file.path}:{file.line(place)}"
