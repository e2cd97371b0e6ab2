"""What a torture does and when: from the seed alone, so that a run can be repeated. Pure.

Cycles are dealt from a shuffled deck, so that ten of them hit most of the path. The plan of n cycles begins the plan
of more than n: each round stands for itself and can be played alone.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from simulators.demo.stage import AGENT, BROKER, INGEST, device
from simulators.faults import CORRUPTION, DRIFT, DROP, FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulators.scenario import Scenario

CYCLES_A_ROUND: Final = 10
AGENT_NETWORK: Final = "agent-network"
INGEST_NETWORK: Final = "ingest-network"
DISK: Final = "buffer-disk"
STORE: Final = "store"
RECOVERY_S: Final = 3.0
"""After a frozen agent or a full disk so long passes until the agent may be killed: before, more than W is unsafe."""
_SECOND_SHARE: Final = 0.4
"""So many cycles have two troubles at a time."""
_SECOND_LATER_S: Final = 0.8
_GAP_S: Final = (0.3, 1.0)
_FROZEN_AGENT_S: Final = (0.3, 1.5)
"""Not longer: a card that is read late is stored late, and more than 2 s would be altered by the ledger's rule."""
_RATES: Final = (0.01, 0.3)


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
}
_AFTER_S: Final = {Kind.KILL: 1.5, Kind.RESTART: 2.0}
"""What it takes to start again, about; on a busy machine the next trouble of the same target waits for longer."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One trouble; times in seconds from the beginning of its round."""

    cycle: int
    """Counted from 1 over all rounds."""
    at_s: float
    kind: Kind
    target: str
    """A process as `Stage.kill` names it, a network, `buffer-disk` or `store`."""
    hold_s: float
    """How long it lasts before it is mended."""
    detail: str = ""
    """The device's fault, or the direction that stands still."""
    amount: float | None = None
    """The fault's rate, or bytes a second."""

    @property
    def needs(self) -> frozenset[str]:
        """What nobody else may harm meanwhile. With a full disk the agent may not die: memory is all it has."""
        return frozenset({self.target, AGENT} if self.kind is Kind.FILL else {self.target})

    @property
    def recovery_s(self) -> float:
        """For how long it keeps what it needs after it is mended."""
        return RECOVERY_S if self.kind is Kind.FILL or (self.kind, self.target) == (Kind.FREEZE, AGENT) else 0.0

    @property
    def says(self) -> str:
        """The action for people."""
        extra = " ".join(word for word in (self.detail, "" if self.amount is None else f"{self.amount:g}") if word)
        return f"{self.kind} {self.target}{f' ({extra})' if extra else ''} for {self.hold_s:g} s"


_Card = tuple[Kind, str]


def deck(scenario: Scenario) -> tuple[_Card, ...]:
    """Return what can be done to which part; devices stand for any link, chosen when the card is dealt."""
    processes = [(kind, name) for name in (AGENT, INGEST, BROKER) for kind in (Kind.KILL, Kind.RESTART, Kind.FREEZE)]
    troubles = (Kind.CUT, Kind.STALL, Kind.HALF_OPEN, Kind.SLOW)
    networks = [(kind, name) for name in (AGENT_NETWORK, INGEST_NETWORK) for kind in troubles]
    faults = [(Kind.FAULT, device(link)) for link in scenario.links]
    return (*processes, (Kind.KILL, AGENT), *networks, *faults, (Kind.KILL, ""), (Kind.FILL, DISK), (Kind.LOCK, STORE))


def plan(scenario: Scenario, *, seed: int, cycles: int) -> list[list[Action]]:
    """Return the actions of each round, in the order of their times."""
    dealer = _Dealer(scenario, seed)
    rounds = []
    for first in range(1, cycles + 1, CYCLES_A_ROUND):
        numbers = range(first, min(first + CYCLES_A_ROUND, cycles + 1))
        rounds.append(sorted(dealer.round(numbers), key=lambda action: action.at_s))
    return rounds


class _Dealer:
    """Deals cycles. Uses nothing but `Random.random`, which is the same in every Python."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._random = Random(f"torture/{scenario.name}/{seed}").random
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
                needs = {target, AGENT} if kind is Kind.FILL else {target}
                if not needs & taken and not (kind is Kind.KILL and not target and taken):
                    return self._cards.pop(index)
            self._cards += [card for _, card in sorted((self._random(), card) for card in deck(self._scenario))]
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
        hold = _FROZEN_AGENT_S if (kind, target) == (Kind.FREEZE, AGENT) else _HOLD_S[kind]
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
