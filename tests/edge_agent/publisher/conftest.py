from __future__ import annotations

from tests.servers import make_mosquitto, mosquitto

__all__ = ["make_mosquitto", "mosquitto"]
