"""Fitness bands that say the heart rate, by advertisement or GATT, on a shared Bluetooth adapter."""

from drivers.ble_heart_rate.driver import create, link_address, problems

__all__ = ["create", "link_address", "problems"]
