"""Groups: what is told of a class as a whole, so that nothing about one of its pupils can be worked out from it."""

from edge_agent.groups.cells import Sizes
from edge_agent.groups.stage import DEVICE_PREFIX, ClassList, Groups, Register, Seat

__all__ = ["DEVICE_PREFIX", "ClassList", "Groups", "Register", "Seat", "Sizes"]
