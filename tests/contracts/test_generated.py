"""Generated files follow the models, the contracts install alone, and every event of ours fits its JSON Schema."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from tests import builders, docs
from worker.contracts import generate

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", generate())
def test_a_generated_file_is_what_the_models_say(name: str) -> None:
    assert (ROOT / "schemas" / name).read_text() == generate()[name]


def test_the_generated_pages_are_up_to_date() -> None:
    for path, text in docs.pages().items():
        assert path.read_text() == text, f"{path.name}: run `make format`"


@pytest.mark.parametrize("event_type", builders.DATA)
def test_an_event_that_is_right_fits_its_json_schema(event_type: str) -> None:
    schema = json.loads((ROOT / "schemas" / "json" / f"{event_type}.json").read_text())

    jsonschema.validate(builders.data(event_type), schema)
    if "order_id" in schema["required"]:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(builders.data(event_type, order_id=""), schema)


def test_the_asyncapi_document_names_every_event_and_each_reference_resolves() -> None:
    document = YAML(typ="safe").load((ROOT / "schemas" / "asyncapi.yaml").read_text())

    assert document["asyncapi"] == "3.0.0"
    assert set(document["channels"]["events"]["messages"]) == set(builders.DATA)
    for message in document["components"]["messages"].values():
        assert (ROOT / "schemas" / message["payload"]["$ref"]).exists()
    for channel in document["channels"].values():
        for reference in channel["messages"].values():
            assert reference["$ref"].rsplit("/", 1)[1] in document["components"]["messages"]


def test_the_contracts_install_alone(tmp_path) -> None:
    """Into an empty folder, and import with the worker's own dependencies out of reach."""
    source = shutil.copytree(ROOT / "schemas", tmp_path / "schemas-source")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(tmp_path / "site"),
        str(source),
    ]
    subprocess.run(install, check=True, cwd=tmp_path)
    program = """
import sys
sys.path.insert(0, sys.argv[1])
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"aiokafka", "sqlalchemy", "aiohttp", "worker", "structlog"}:
            raise ImportError(name)
sys.meta_path.insert(0, Forbid())
import schemas
from schemas.events.order import OrderShipped
assert schemas.__file__.startswith(sys.argv[1]), schemas.__file__
event = OrderShipped(order_id="1", tracking_url="https://x.fr/1", recipient={"contact_id": "c"})
print(event.model_dump_json(exclude_none=True))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "site")], capture_output=True, text=True, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["order_id"] == "1"
