"""Derive: ranges, steps, heartbeats and calibration judge each value; report rules thin out the unchanged ones."""

from edge_agent.derive.judge import Judge
from edge_agent.derive.report import Reporter

__all__ = ["Judge", "Reporter"]
