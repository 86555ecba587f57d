"""JSON Schema and AsyncAPI, generated from the models in `schemas`."""

import io
import json
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML

from schemas.cloudevents import CloudEvent
from schemas.dead_letters import DeadLetterHeaders
from schemas.events import EVENTS
from schemas.messages import Lane, Message
from schemas.outcomes import Outcome
from worker import __version__
from worker.topics import Topics

KAFKA_BINDING = "0.5.0"  # https://github.com/asyncapi/bindings/tree/master/kafka
OUR_MODELS: dict[str, type[BaseModel]] = {
    "cloudevent": CloudEvent,
    "message": Message,
    "outcome": Outcome,
    "dead_letter_headers": DeadLetterHeaders,
}


def generate() -> dict[str, str]:
    """Return every generated file: path under `schemas` to content."""
    files = {f"json/{name}.json": _json_schema(model) for name, model in {**EVENTS, **OUR_MODELS}.items()}
    return {**files, "asyncapi.yaml": _asyncapi()}


def _json_schema(model: type[BaseModel]) -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _asyncapi() -> str:
    topics = Topics("sms")
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "sms-worker",
            "version": __version__,
            "description": "Domain events in, outcomes out. Events are CloudEvents 1.0 in binary or structured mode.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": None,
                "description": "The topics that worker.yaml lists under intakes.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in EVENTS},
            },
            **{f"{lane}-lane": _channel(topics.lane(lane), "message") for lane in Lane},
            **{f"{lane}-due": _channel(topics.lane_due(lane), "message") for lane in Lane},
            "outcomes": _channel(topics.outcomes, "outcome"),
        },
        "operations": {
            "readEvents": {"action": "receive", "channel": {"$ref": "#/channels/events"}},
            "publishOutcomes": {"action": "send", "channel": {"$ref": "#/channels/outcomes"}},
        },
        "components": {"messages": {**{n: _event_message(n, m) for n, m in EVENTS.items()}, **_our_messages()}},
    }
    stream, yaml = io.StringIO(), YAML()
    yaml.width = 120
    yaml.dump(document, stream)
    return "# Generated from the models by `sms-worker schemas export`.\n" + stream.getvalue()


def _channel(topic: str, message: str) -> dict[str, Any]:
    return {
        "address": topic,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": KAFKA_BINDING}},
    }


def _event_message(name: str, model: type[BaseModel]) -> dict[str, Any]:
    return {
        "name": name,
        "summary": (model.__doc__ or "").strip().splitlines()[0],
        "headers": {
            "type": "object",
            "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
            "properties": {
                "ce_specversion": {"const": "1.0"},
                "ce_id": {"type": "string"},
                "ce_source": {"type": "string"},
                "ce_type": {"const": name},
                "ce_time": {"type": "string", "format": "date-time"},
                "content-type": {"type": "string"},
            },
        },
        "payload": {"$ref": f"./json/{name}.json"},
        "bindings": {"kafka": {"bindingVersion": KAFKA_BINDING}},
    }


def _our_messages() -> dict[str, Any]:
    return {
        name: {
            "name": name,
            "payload": {"$ref": f"./json/{name}.json"},
            "bindings": {"kafka": {"bindingVersion": KAFKA_BINDING}},
        }
        for name in ("message", "outcome")
    }
