"""Links: a serial port or TCP connection, opened once, shared by the devices on it."""

from drivers.links.link import Link
from drivers.links.port import Port
from drivers.links.serial import SerialLink
from drivers.links.tcp import TcpLink

__all__ = ["Link", "Port", "SerialLink", "TcpLink"]
