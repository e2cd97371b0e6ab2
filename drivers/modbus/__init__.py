"""Modbus RTU and TCP: the register map stands wholly in the device profile."""

from drivers.modbus.driver import create, link_address, problems

__all__ = ["create", "link_address", "problems"]
