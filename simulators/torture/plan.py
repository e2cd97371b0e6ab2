"""What a torture does and when: from the seed alone, so that a run can be repeated. Pure.

Cycles are dealt from a shuffled deck, so that ten of them hit most of the path. The plan of n cycles begins the plan
of more than n: each round stands for itself and can be played alone.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from simulators.demo.stage import AGENT, BROKER, DATABASE, INGEST, WORKERS
from simulators.demo.troubles import device
from simulators.faults import CORRUPTION, DRIFT, DROP, FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulators.scenario import Scenario

CYCLES_A_ROUND: Final = 10
AGENT_NETWORK: Final = "agent-network"
INGEST_NETWORK: Final = "ingest-network"
DISK: Final = "buffer-disk"
STORE: Final = "store"
CLOCKS: Final = "clocks"
"""One at a time may be wrong: a gateway that asks a server with a wrong clock is not what is tried here."""
RECOVERY_S: Final = 3.0
"""After a frozen agent or a full disk so long passes until the agent may be killed: before, more than W is unsafe."""
_SECOND_SHARE: Final = 0.4
"""So many cycles have two troubles at a time."""
_SECOND_LATER_S: Final = 0.8
_GAP_S: Final = (0.3, 1.0)
_FROZEN_AGENT_S: Final = (0.3, 1.5)
"""Not longer: a card that is read late is stored late, and more than 2 s would be altered by the ledger's rule."""
_FROZEN_WORKERS_S: Final = (0.3, 2.5)
"""A snapshot that waited in the socket bears the middle of that time, and the ledger allows 1.5 s."""
_RATES: Final = (0.01, 0.3)
EPOCH: Final = "1970"
_WRONG_BY_S: Final = (-7200.0, -60.0, -1.0, 1.0, 60.0, 7200.0)
_DAYS_S: Final = (-400 * 86400.0, -3600.0, 3600.0, 30 * 86400.0)
"""By how much a gateway's clock may be wrong when it boots, if it does not begin in 1970."""
_EPOCH_SHARE: Final = 0.5


class Kind(StrEnum):
    """What can be done to the path."""

    KILL = "kill"
    """SIGKILL, later started again."""
    RESTART = "restart"
    """SIGTERM, later started again."""
    FREEZE = "freeze"
    """SIGSTOP, later SIGCONT."""
    CUT = "cut"
    """Reset every connection and refuse new ones."""
    STALL = "stall"
    """Connections stay, nothing passes."""
    HALF_OPEN = "half-open"
    """Only one direction passes."""
    SLOW = "slow"
    """A few kB/s."""
    FAULT = "fault"
    """Something is wrong with a device."""
    FILL = "fill"
    """No space left for the agent's buffer."""
    LOCK = "lock"
    """Somebody else holds the store's write lock."""
    CLOCK = "clock"
    """The ingest's clock jumps, and back; the agent boots with a wrong clock, which is set right while it runs."""


_HOLD_S: Final[dict[Kind, tuple[float, float]]] = {
    Kind.KILL: (0.0, 2.0),
    Kind.RESTART: (0.0, 1.5),
    Kind.FREEZE: (0.5, 4.0),
    Kind.CUT: (0.2, 3.0),
    Kind.STALL: (0.5, 4.0),
    Kind.HALF_OPEN: (0.5, 4.0),
    Kind.SLOW: (1.0, 4.0),
    Kind.FAULT: (0.5, 3.0),
    Kind.FILL: (1.0, 3.0),
    Kind.LOCK: (0.5, 4.0),
    Kind.CLOCK: (0.5, 3.0),
}
_AFTER_S: Final = {Kind.KILL: 1.5, Kind.RESTART: 2.0, Kind.CLOCK: 1.5}
"""What it takes to start again, about; on a busy machine the next trouble of the same target waits for longer."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One trouble; times in seconds from the beginning of its round."""

    cycle: int
    """Counted from 1 over all rounds."""
    at_s: float
    kind: Kind
    target: str
    """A process as `Stage.kill` names it, a network, `buffer-disk` or `store`; of a clock: whose."""
    hold_s: float
    """How long it lasts before it is mended."""
    detail: str = ""
    """The device's fault, the direction that stands still, or `1970`."""
    amount: float | None = None
    """The fault's rate, bytes a second, or by how many seconds a clock is wrong."""

    @property
    def needs(self) -> frozenset[str]:
        """What nobody else may harm meanwhile. With a full disk the agent may not die: memory is all it has."""
        return _needs(self.kind, self.target)

    @property
    def recovery_s(self) -> float:
        """For how long it keeps what it needs after it is mended."""
        slow = self.kind is Kind.FILL or (self.target == AGENT and self.kind in {Kind.FREEZE, Kind.CLOCK})
        return RECOVERY_S if slow else 0.0

    @property
    def says(self) -> str:
        """The action for people."""
        extra = " ".join(word for word in (self.detail, "" if self.amount is None else f"{self.amount:g}") if word)
        return f"{self.kind} {self.target}{f' ({extra})' if extra else ''} for {self.hold_s:g} s"


_Card = tuple[Kind, str]


def _needs(kind: Kind, target: str) -> frozenset[str]:
    also = {Kind.FILL: AGENT, Kind.CLOCK: CLOCKS}.get(kind)
    return frozenset({target} if also is None else {target, also})


def deck(scenario: Scenario, *, database: bool = False) -> tuple[_Card, ...]:
    """Return what can be done to which part; devices stand for any link, chosen when the card is dealt.

    `database`: the store is a process of its own; else a file.
    """
    names = (AGENT, INGEST, BROKER, *((DATABASE,) if database else ()))
    processes = [(kind, name) for name in names for kind in (Kind.KILL, Kind.RESTART, Kind.FREEZE)]
    if any(device.kind == "camera" for device in scenario.devices):
        processes += [(Kind.KILL, WORKERS), (Kind.FREEZE, WORKERS)]
    troubles = (Kind.CUT, Kind.STALL, Kind.HALF_OPEN, Kind.SLOW)
    networks = [(kind, name) for name in (AGENT_NETWORK, INGEST_NETWORK) for kind in troubles]
    faults = [(Kind.FAULT, device(link)) for link in scenario.links]
    clocks = [(Kind.CLOCK, AGENT), (Kind.CLOCK, INGEST)]
    store = [] if database else [(Kind.LOCK, STORE)]
    return (
        *processes, (Kind.KILL, AGENT), *networks, *faults, (Kind.KILL, ""), (Kind.FILL, DISK), *store, *clocks
    )  # fmt: skip


def plan(scenario: Scenario, *, seed: int, cycles: int, database: bool = False) -> list[list[Action]]:
    """Return the actions of each round, in the order of their times."""
    dealer = _Dealer(scenario, seed, database=database)
    rounds = []
    for first in range(1, cycles + 1, CYCLES_A_ROUND):
        numbers = range(first, min(first + CYCLES_A_ROUND, cycles + 1))
        rounds.append(sorted(dealer.round(numbers), key=lambda action: action.at_s))
    return rounds


class _Dealer:
    """Deals cycles. Uses nothing but `Random.random`, which is the same in every Python."""

    def __init__(self, scenario: Scenario, seed: int, *, database: bool) -> None:
        self._scenario = scenario
        self._deck = deck(scenario, database=database)
        self._random = Random(f"torture/{scenario.name}/{seed}{'/database' if database else ''}").random
        self._cards: list[_Card] = []

    def round(self, numbers: Sequence[int]) -> Iterator[Action]:
        at_s = 0.0
        for number in numbers:
            first = self._action(number, at_s, self._deal(frozenset()))
            actions = [first]
            if self._random() < _SECOND_SHARE:
                later_s = at_s + self._between(0.0, _SECOND_LATER_S)
                actions.append(self._action(number, later_s, self._deal(first.needs)))
            yield from actions
            ends_s = (
                action.at_s + action.hold_s + action.recovery_s + _AFTER_S.get(action.kind, 0.0) for action in actions
            )
            at_s = round(max(ends_s) + self._between(*_GAP_S), 3)

    def _deal(self, taken: frozenset[str]) -> _Card:
        """Return the next card that harms nothing of `taken`; a new deck is shuffled when there is none."""
        for _ in range(2):
            for index, (kind, target) in enumerate(self._cards):
                if not _needs(kind, target) & taken and not (kind is Kind.KILL and not target and taken):
                    return self._cards.pop(index)
            self._cards += [card for _, card in sorted((self._random(), card) for card in self._deck)]
        raise AssertionError("a whole deck holds cards of many targets")

    def _action(self, cycle: int, at_s: float, card: _Card) -> Action:
        kind, target = card
        links = list(self._scenario.links)
        target = target or device(self._pick(links))
        detail, amount = "", None
        if kind is Kind.FAULT:
            model = self._scenario.links[target.removeprefix(device(""))][0].kind
            detail = self._pick([name for name, fault in FAULTS.items() if model in fault.kinds and name != DRIFT])
            amount = self._between(*_RATES) if detail in {CORRUPTION, DROP} else None
        elif kind is Kind.HALF_OPEN:
            detail = self._pick(["up", "down"])
        elif kind is Kind.SLOW:
            amount = float(round(self._between(500, 8000)))
        elif kind is Kind.CLOCK and target == AGENT:
            detail = EPOCH if self._random() < _EPOCH_SHARE else ""
            amount = None if detail else self._choose(_DAYS_S)
        elif kind is Kind.CLOCK:
            amount = self._choose(_WRONG_BY_S)
        frozen = {AGENT: _FROZEN_AGENT_S, WORKERS: _FROZEN_WORKERS_S} if kind is Kind.FREEZE else {}
        hold = frozen.get(target, _HOLD_S[kind])
        return Action(
            cycle=cycle,
            at_s=round(at_s, 3),
            kind=kind,
            target=target,
            hold_s=self._between(*hold),
            detail=detail,
            amount=amount,
        )

    def _between(self, low: float, high: float) -> float:
        return round(low + (high - low) * self._random(), 3)

    def _pick(self, choices: Sequence[str]) -> str:
        return choices[int(self._random() * len(choices))]

    def _choose(self, choices: Sequence[float]) -> float:
        return choices[int(self._random() * len(choices))]
