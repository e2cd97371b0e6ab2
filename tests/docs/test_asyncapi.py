"""docs/asyncapi.yaml says what the code does: topics, classes, and every example through the real decoders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from cloud_ingest.erasure.topics import confirmation_topic, order_topic, worker_topic
from edge_agent.commands import Command
from telemetry.ack import decode_ack, encode_ack
from telemetry.batch import SCHEMA, decode_batch, encode_batch, pack, unpack
from telemetry.erasure import COMMAND_SCHEMA
from telemetry.sample import DataClass
from telemetry.topics import Channel, Flow, erase_topic, parse_topic, telemetry_topic

DOCS = Path(__file__).parent.parent.parent / "docs"
SPEC: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
MESSAGES: dict[str, Any] = SPEC["components"]["messages"]
EXAMPLES = [
    pytest.param(kind, example["payload"], id=f"{kind}-{example['name']}")
    for kind, message in MESSAGES.items()
    for example in message.get("examples", [])
]


def resolve(reference: str) -> Any:
    """Return what a reference inside the document, or to a file beside it, points at."""
    path, _, pointer = reference.partition("#")
    target = json.loads((DOCS / path).read_text(encoding="utf-8")) if path else SPEC
    for part in pointer.strip("/").split("/") if pointer else []:
        target = target[part]
    return target


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        mine = [node["$ref"]] if "$ref" in node else []
        return mine + [found for value in node.values() for found in references(value)]
    return [found for value in node for found in references(value)] if isinstance(node, list) else []


def matches(schema: dict[str, Any], value: Any) -> bool:
    """Tell whether `value` fits the part of JSON Schema that the document itself uses."""
    if "$ref" in schema:
        return matches(resolve(schema["$ref"]), value)
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    kinds |= {"integer": int, "number": (int, float)}
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    right = any(isinstance(value, kinds[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in allowed)
    if not right or ("pattern" in schema and not re.search(schema["pattern"], value)):
        return False
    if isinstance(value, list):
        return all(matches(schema["items"], part) for part in value)
    if isinstance(value, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        complete = all(name in value for name in schema.get("required", []))
        # An example may show only what the document describes.
        return complete and all(matches(known.get(name) or other or {"type": []}, part) for name, part in value.items())
    return True


def test_every_reference_leads_somewhere() -> None:
    for reference in references(SPEC):
        assert resolve(reference), reference


OF_ERASURE = {"erase", "tombstone", "erased", "worker"}
"""Channels that are no gateway's own."""


def test_every_channel_is_described_once() -> None:
    assert set(SPEC["channels"]) == {*Channel, *OF_ERASURE}
    described = [operation["channel"]["$ref"] for operation in SPEC["operations"].values()]
    assert sorted(described) == sorted(f"#/channels/{channel}" for channel in (*Channel, "erase"))


def test_addresses_of_erasure_are_the_codes_topics() -> None:
    address = {name: SPEC["channels"][name]["address"] for name in OF_ERASURE}
    named = {"site": "s", "gateway": "g", "request": "0123456789abcdef", "worker": "w"}
    assert address["erase"].format(**named) == erase_topic("s", "g")
    assert address["tombstone"].format(**named) == order_topic("s", named["request"])
    assert address["erased"].format(**named) == confirmation_topic("s", named["request"], "w")
    assert address["worker"].format(**named) == worker_topic("w")


@pytest.mark.parametrize("channel", Channel)
def test_address_is_the_codes_topic(channel: Channel) -> None:
    described = SPEC["channels"][channel]
    named = {name: resolve(ref["$ref"])["examples"][0] for name, ref in described["parameters"].items()}
    assert set(re.findall(r"\{(\w+)\}", described["address"])) == set(named)
    topic = parse_topic(described["address"].format(**named))
    assert topic is not None
    assert (topic.channel, topic.site, topic.gateway) == (channel, named["site"], named["gateway"])


def test_classes_and_flows_are_the_codes() -> None:
    parameters = SPEC["components"]["parameters"]
    assert parameters["class"]["enum"] == list(DataClass)
    assert parameters["flow"]["enum"] == list(Flow)
    address = SPEC["channels"]["telemetry"]["address"]
    for data_class in DataClass:
        for flow in Flow:
            filled = address.format(**{"site": "s", "gateway": "g", "class": data_class, "flow": flow})
            assert filled == telemetry_topic("s", "g", data_class, flow)


def test_qos_and_retained_stand_in_the_architecture_too() -> None:
    table = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for operation in SPEC["operations"].values():
        channel = operation["channel"]["$ref"].rpartition("/")[2]
        row = next(line for line in table.splitlines() if re.match(rf"\| `[^|]*/{channel}\b", line))
        _, _, qos, retained, *_ = (cell.strip() for cell in re.split(r"(?<!\\)\|", row))
        assert (int(qos), retained == "yes") == tuple(operation["bindings"]["mqtt"].values()), row


@pytest.mark.parametrize(("kind", "payload"), EXAMPLES)
def test_example_decodes(kind: str, payload: dict[str, Any]) -> None:
    encoded = json.dumps(payload).encode()
    if kind == "batch":
        batch = decode_batch(unpack(pack(encoded)))
        assert MESSAGES["batch"]["name"] == batch.schema == SCHEMA
        # Nothing in the example is ignored, and nothing the code writes is missing from it.
        assert json.loads(encode_batch(batch)) == payload
        assert parse_topic(telemetry_topic(batch.site, batch.gateway, batch.data_class, Flow.LIVE)) is not None
    elif kind == "ack":
        assert json.loads(encode_ack(decode_ack(encoded))) == payload
    elif kind == "command":
        command = msgspec.json.decode(encoded, type=Command)
        assert MESSAGES["command"]["name"] == command.schema == COMMAND_SCHEMA
        assert json.loads(msgspec.json.encode(command)) == payload
    else:
        assert matches(MESSAGES[kind]["payload"], payload)
        assert payload["schema"] == MESSAGES[kind]["name"]


def test_the_check_of_examples_can_fail() -> None:
    good = MESSAGES["health"]["examples"][0]["payload"]
    assert not matches(MESSAGES["health"]["payload"], good | {"clock": "perhaps"})
    assert not matches(MESSAGES["health"]["payload"], good | {"uptime_s": "long"})
    assert not matches(MESSAGES["health"]["payload"], {name: good[name] for name in good if name != "buffer"})
    assert not matches(MESSAGES["health"]["payload"], good | {"undescribed": 1})
    devices = MESSAGES["devices"]["examples"][0]["payload"]
    assert not matches(MESSAGES["devices"]["payload"], devices | {"devices": [{"name": "r101-air"}]})
    assert not matches(MESSAGES["devices"]["payload"], devices | {"devices": "none"})
