"""Commands: bounded, answered one by one, and whatever comes is never more than a refusal."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import commands as commands_module
from edge_agent.commands import MAX_WAITING, Commands, document_handler
from edge_agent.privacy import DocumentKind, Documents
from telemetry.counters import Counters
from telemetry.errors import ProtocolError
from telemetry.signed import read_public_key
from tests.drivers.helpers import running
from tests.edge_agent.privacy.files import SITE, policy_text, public_line, signed
from tests.waiting import until

HEAD = {"schema": "campus.command/1", "kind": "echo"}


class Answers(list):
    def __init__(self, **handlers):
        super().__init__()
        self.counters = Counters()

        async def echo(command):
            if command.text == "wrong":
                raise ProtocolError("this is wrong")
            return {"ok": True, "text": command.text}

        self.commands = Commands(
            handlers={"echo": echo, **handlers},
            reply=self.append,
            now_ns=time.time_ns,
            counters=self.counters,
            site="s",
            gateway="g",
        )

    async def of(self, *payloads):
        before = len(self)
        async with running(self.commands.run()):
            for payload in payloads:
                self.commands.take(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
            await until(lambda: len(self) == before + len(payloads))
        return [json.loads(json.dumps(answer)) for answer in self[before:]]


async def test_commands_are_answered_in_their_order_with_their_id():
    answers = Answers()
    found = await answers.of(*({**HEAD, "id": str(number), "text": f"t{number}"} for number in range(5)))
    assert [(answer["id"], answer["text"], answer["ok"]) for answer in found] == [
        (str(number), f"t{number}", True) for number in range(5)
    ]
    assert {(answer["schema"], answer["site"], answer["gateway"], answer["kind"]) for answer in found} == {
        ("campus.reply/1", "s", "g", "echo")
    }


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"{", "cannot be decoded"),
        (b"[]", "cannot be decoded"),
        (b"\xff\xfe", "cannot be decoded"),
        (b"[" * 100_000, "cannot be decoded"),
        ({"schema": "campus.command/2", "kind": "echo"}, "schema 'campus.command/2' is not supported"),
        ({**HEAD, "kind": "reboot" * 100}, "knows no command 'rebootreboot"),
        ({**HEAD, "text": "wrong"}, "this is wrong"),
        ({**HEAD, "text": 1}, "cannot be decoded"),
    ],
    ids=["cut", "list", "bytes", "deep", "version", "kind", "handler", "type"],
)
async def test_a_wrong_command_is_refused_with_a_short_reason(payload, told):
    answers = Answers()
    (answer,) = await answers.of(payload)
    assert (answer["ok"], answers.counters.get("commands.refused")) == (False, 1)
    assert told in answer["text"]
    assert len(answer["text"]) < 200


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4))
async def test_no_bytes_stop_the_commands(payloads):
    answers = Answers()
    await answers.of(*payloads)
    assert (await answers.of({**HEAD, "text": "still there"}))[0]["ok"]


async def test_too_many_and_too_large_are_dropped_and_counted(monkeypatch):
    answers = Answers()
    for _ in range(MAX_WAITING + 3):
        answers.commands.take(json.dumps(HEAD).encode())
    monkeypatch.setattr(commands_module, "MAX_COMMAND_BYTES", 10)
    answers.commands.take(b"x" * 11)
    assert answers.counters.snapshot() == {"commands.dropped": 3, "commands.too_large": 1}


async def test_an_empty_message_is_a_retained_one_that_was_cleared():
    answers = Answers()
    answers.commands.take(b"")
    assert len(await answers.of(HEAD)) == 1


async def test_a_document_is_taken_and_told(tmp_path):
    key = read_public_key(public_line())
    documents = Documents(
        site=SITE,
        trusted={key.key_id: key},
        paths={DocumentKind.POLICY: tmp_path / "policy.toml"},
        state_file=None,
        now_ns=time.time_ns,
        counters=Counters(),
    )
    documents.look()
    answers = Answers(document=document_handler(documents))
    command = {"schema": "campus.command/1", "kind": "document", "text": signed(policy_text(serial=3)).decode()}
    forged = {**command, "text": command["text"].replace("serial = 3", "serial = 4")}
    surrogate = json.dumps({**command, "text": ""}).replace('""', '"\\ud800"').encode()
    good, bad, odd = await answers.of(command, forged, surrogate)
    assert {key: good[key] for key in ("ok", "document", "serial", "kind")} == {
        "ok": True,
        "document": "policy",
        "serial": 3,
        "kind": "document",
    }
    assert good["text"].startswith("in force: serial 3")
    assert (bad["ok"], odd["ok"]) == (False, False)
    assert "was altered after it was signed" in bad["text"]
    assert documents.in_force.policy.serial == 3
