"""RDM6300 and ID-12 card readers on a serial port; repeats of a card are one presence."""

from drivers.rdm6300.driver import create, link_address, problems

__all__ = ["create", "link_address", "problems"]
