"""Collector: one task a device; a silent, gone or babbling device never stops the others."""

from edge_agent.collector.backoff import Backoff
from edge_agent.collector.poll import poll
from edge_agent.collector.push import listen
from edge_agent.collector.state import DeviceState

__all__ = ["Backoff", "DeviceState", "listen", "poll"]
