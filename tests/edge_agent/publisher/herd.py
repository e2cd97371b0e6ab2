"""Many gateways and one broker in virtual time: their own back-off, and so many logins a second."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

from edge_agent.publisher.backoff import Backoff
from edge_agent.publisher.connection import CONNECT_S

LOGINS_PER_S = 1000
"""TLS handshakes that a Mosquitto takes on one core; twice as many were measured."""


@dataclass
class Herd:
    """What happened."""

    attempts: list[float] = field(default_factory=list)
    """When each was made."""
    connected: list[float] = field(default_factory=list)
    """When each gateway was in."""

    @property
    def most_in_a_second(self) -> int:
        """Attempts in the worst second, wherever it begins."""
        worst = first = 0
        for last, at in enumerate(self.attempts):
            while self.attempts[first] <= at - 1.0:
                first += 1
            worst = max(worst, last - first + 1)
        return worst

    def per_s(self, second: int) -> int:
        """Attempts in one second."""
        return Counter(int(at) for at in self.attempts)[second]


def reconnect(gateways: int, *, down_s: float = 0.0, lost: bool, logins_per_s: float = LOGINS_PER_S) -> Herd:
    """Let all connect from the same moment on, at once or, when they `lost` a connection, as they do then.

    The broker refuses for `down_s`. It takes logins one after the other, and works on each also when its gateway has
    given up meanwhile.
    """
    herd = Herd()
    backoffs = [Backoff(random=random.Random(seed).random) for seed in range(gateways)]  # noqa: S311
    due = [(backoff.after_failure() if lost else 0.0, number) for number, backoff in enumerate(backoffs)]
    heapq.heapify(due)
    free_at = 0.0
    while due:
        now, number = heapq.heappop(due)
        herd.attempts.append(now)
        if now < down_s:
            heapq.heappush(due, (now + backoffs[number].after_failure(), number))
            continue
        free_at = max(free_at, now) + 1 / logins_per_s
        if free_at - now <= CONNECT_S:
            herd.connected.append(free_at)
        else:
            heapq.heappush(due, (now + CONNECT_S + backoffs[number].after_failure(unanswered=True), number))
    return herd
