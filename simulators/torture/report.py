"""What a torture showed, as data: every action with its time, each round's verdict, how to do it again."""

from __future__ import annotations

import shlex
from typing import Any, Final, Literal

import msgspec

from simulators.torture.plan import Action

SCHEMA: Final = "campus.torture-report/1"
SQLITE: Final = "sqlite"
INFLUX: Final = "influx"
Verdict = Literal["green", "red"]


class Done(msgspec.Struct, kw_only=True):
    """One action as it happened; seconds from the beginning of its round's troubles."""

    action: Action
    at_ns: int | None = None
    """When it began, UTC."""
    began_s: float | None = None
    ended_s: float | None = None
    """When all was mended and running again."""
    skipped: str | None = None
    """Why it could not be done on this machine."""
    failed: str | None = None


class RoundReport(msgspec.Struct, kw_only=True):
    """One round: a fresh store, its troubles, and the ledger's verdict after everything has settled."""

    round: int
    verdict: Verdict
    reasons: list[str]
    families: dict[str, dict[str, Any]]
    leaks: list[str]
    outages: list[str]
    unobserved_share: float
    """So much of what was said might be unobserved, beside the agent's own absences."""
    seconds: float
    actions: list[Done]
    replay: str


class TortureReport(msgspec.Struct, kw_only=True):
    """One run."""

    schema: str = SCHEMA
    verdict: Verdict = "green"
    seed: int
    scenario: str
    store: str
    """`sqlite`, a file; or `influx`, a database of its own."""
    cycles: int
    """Asked for."""
    cycles_done: int = 0
    seconds: float = 0.0
    skipped: list[str] = []
    replay: str
    rounds: list[RoundReport] = []
    simulated: bool = True

    def add(self, played: RoundReport) -> None:
        """Take in a round."""
        self.rounds.append(played)
        self.cycles_done += len({done.action.cycle for done in played.actions})
        skipped = {f"{done.action.kind}: {done.skipped}" for done in played.actions if done.skipped}
        self.skipped = sorted({*self.skipped, *skipped})
        if played.verdict == "red":
            self.verdict = "red"

    def encode(self) -> bytes:
        """Return the report as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def replay(*, seed: int, scenario: str, store: str, cycles: int, sabotage: str | None, only: int | None = None) -> str:
    """Return the command that does the same again; `only`: one round of it."""
    words = ["campus-sim", "torture", "--seed", seed, "--cycles", cycles, "--scenario", scenario]
    if store != SQLITE:
        words += ["--store", store]
    if sabotage is not None:
        words += ["--sabotage", sabotage]
    if only is not None:
        words += ["--round", only]
    return shlex.join(map(str, words))
