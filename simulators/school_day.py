"""A school day in a room: who is there, windows, lamps, and what that does to the air. Pure and seeded, no clock.

The n-th measurement depends on (seed, device, scenario, n) alone. Between measurements the room is stepped minute by
minute: CO2 and water by mass balance, temperature by heat balance, particles by infiltration and settling.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

_MINUTE_H: Final = 1 / 60
_DAY_MIN: Final = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A stretch of the timetable, in minutes since midnight; `people` is a share of the room's full class."""

    start: int
    end: int
    activity: str
    people: float
    loudness_db: float


def _period(start: str, end: str, activity: str, people: float, loudness_db: float) -> Period:
    begin, finish = (int(text[:2]) * 60 + int(text[3:]) for text in (start, end))
    return Period(start=begin, end=finish, activity=activity, people=people, loudness_db=loudness_db)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A room and its day. Volume in m3, outdoor air in ppm, Cel and ug/m3, ventilation in air changes an hour."""

    says: str
    timetable: tuple[Period, ...]
    starts_at_min: int = 7 * 60 + 40
    people: int = 42
    volume: float = 190.0
    outdoor_co2: float = 425.0
    outdoor_temperature: float = 9.0
    outdoor_swing: float = 5.0
    outdoor_humidity: float = 60.0
    outdoor_pm2_5: float = 55.0
    closed_ach: float = 0.7
    open_ach: float = 7.0


DAYS: Final[dict[str, Day]] = {
    "classroom": Day(
        says="a class of 42, eight lessons, windows opened in most breaks, a smoggy autumn day outside",
        timetable=(
            _period("07:30", "08:00", "arrival", 0.6, 62),
            _period("08:00", "08:40", "lesson", 1.0, 55),
            _period("08:40", "08:50", "break", 0.45, 71),
            _period("08:50", "09:30", "lesson", 1.0, 56),
            _period("09:30", "10:00", "break", 0.1, 60),
            _period("10:00", "10:40", "lesson", 1.0, 57),
            _period("10:40", "10:50", "break", 0.45, 72),
            _period("10:50", "11:30", "lesson", 1.0, 58),
            _period("11:30", "13:20", "lunch", 0.08, 46),
            _period("13:20", "14:00", "lesson", 1.0, 55),
            _period("14:00", "14:10", "break", 0.4, 70),
            _period("14:10", "14:50", "lesson", 1.0, 57),
            _period("14:50", "15:00", "break", 0.4, 72),
            _period("15:00", "15:40", "lesson", 0.95, 61),
            _period("15:40", "16:30", "clubs", 0.3, 63),
        ),
    ),
}

_AWAY: Final = Period(start=0, end=0, activity="away", people=0.0, loudness_db=33.0)
# Per person, sitting, about twelve years old.
_CO2_M3_H: Final = 0.0145
_WATER_G_H: Final = 45.0
_HEAT_W: Final = 75.0
_HEAT_CAPACITY_WH_K: Final = 1500.0
_WALL_LOSS_W_K: Final = 110.0
_AIR_WH_M3_K: Final = 0.34
_HEATING_W: Final = 4500.0
_THERMOSTAT: Final = 20.0
_LAMPS_LX: Final = 340.0
_SETTLING_H: Final = 0.35
_PENETRATION: Final = 0.8


def saturation_g_m3(temperature: float) -> float:
    """Return the water that a cubic metre of air at `temperature` (Cel) can hold, in grams (Magnus)."""
    pressure = 611.2 * math.exp(17.62 * temperature / (243.12 + temperature))
    return 2.1667 * pressure / (temperature + 273.15)


class SchoolDay:
    """One room's measurements; the same arguments give the same ones, in whatever order they are asked for."""

    def __init__(self, *, seed: int, device: str, scenario: str, step_s: float) -> None:
        self.day = DAYS[scenario]
        self._key = f"{seed}/{device}/{scenario}"
        self._step_min = step_s / 60
        self._restart()

    def measurement(self, number: int) -> dict[str, float]:
        """Return measurement `number` (the first is 1; 0 is the state at power-on) by point, in canonical units."""
        if number < self._number:
            self._restart()
        while self._number < number:
            self._number += 1
            target = self.day.starts_at_min + self._number * self._step_min
            while self._minute < target:
                self._minute += 1
                self._pass_minute()
        return self._observe(random.Random(f"{self._key}/{number}"))

    def _restart(self) -> None:
        room = random.Random(self._key)
        self._size = room.uniform(0.85, 1.15)
        self._class = round(self.day.people * room.uniform(0.85, 1.0))
        self._clouds = room.uniform(0.35, 1.0)
        self._number = 0
        self._minute = self.day.starts_at_min
        self._co2 = self.day.outdoor_co2 + room.uniform(10, 60)
        self._temperature = 18.0 + room.uniform(-1, 1)
        self._water = 0.5 * saturation_g_m3(self._temperature)
        self._pm2_5 = 0.5 * self.day.outdoor_pm2_5

    def _period(self) -> Period:
        now = self._minute % _DAY_MIN
        return next((item for item in self.day.timetable if item.start <= now < item.end), _AWAY)

    def _people(self) -> int:
        return round(self._period().people * self._class)

    def _windows_open(self) -> bool:
        """Tell whether they are: in most breaks and half of the lunches, one decision a period."""
        period = self._period()
        chance = {"break": 0.75, "lunch": 0.5, "arrival": 0.3}.get(period.activity, 0.0)
        return random.Random(f"{self._key}/windows/{self._minute // _DAY_MIN}/{period.start}").random() < chance

    def _sun(self) -> float:
        """Height of the sun, 0 (night) to 1."""
        return max(0.0, math.sin(math.pi * (self._minute % _DAY_MIN - 375) / 690))

    def _outdoor_temperature(self) -> float:
        swing = math.sin(math.pi * (self._minute % _DAY_MIN - 540) / 720)
        return self.day.outdoor_temperature + self.day.outdoor_swing * swing

    def _outdoor_pm2_5(self) -> float:
        return self.day.outdoor_pm2_5 * (1.0 + 0.35 * math.cos(2 * math.pi * (self._minute % _DAY_MIN - 480) / 720))

    def _pass_minute(self) -> None:
        day, people = self.day, self._people()
        volume = day.volume * self._size
        changes = day.open_ach if self._windows_open() else day.closed_ach
        # dC/dt = G n / V - ACH (C - C_out): carbon dioxide in ppm, then water in g/m3.
        self._co2 += _MINUTE_H * (_CO2_M3_H * people * 1e6 / volume - changes * (self._co2 - day.outdoor_co2))
        outdoor = self._outdoor_temperature()
        outdoor_water = day.outdoor_humidity / 100 * saturation_g_m3(outdoor)
        self._water += _MINUTE_H * (_WATER_G_H * people / volume - changes * (self._water - outdoor_water))
        heating = _HEATING_W if self._temperature < _THERMOSTAT and self._period() is not _AWAY else 0.0
        loss = (_WALL_LOSS_W_K + _AIR_WH_M3_K * changes * volume) * (self._temperature - outdoor)
        self._temperature += _MINUTE_H * (heating + _HEAT_W * people - loss) / _HEAT_CAPACITY_WH_K
        stirred = 0.12 * people if self._period().activity == "break" else 0.03 * people
        infiltrated = _PENETRATION * changes * self._outdoor_pm2_5() + stirred
        self._pm2_5 += _MINUTE_H * (infiltrated - (changes + _SETTLING_H) * self._pm2_5)

    def _observe(self, noise: random.Random) -> dict[str, float]:
        people = self._people()
        lamps = _LAMPS_LX if people >= self._class // 4 and self._sun() * self._clouds < 0.75 else 0.0  # noqa: PLR2004
        humidity = 100 * self._water / saturation_g_m3(self._temperature)
        return {
            "temperature": self._temperature + noise.gauss(0, 0.05),
            "humidity": min(max(humidity + noise.gauss(0, 0.3), 1.0), 99.0),
            "co2": max(self._co2 + noise.gauss(0, 6), 380.0),
            "pm2_5": max(self._pm2_5 + noise.gauss(0, 1), 0.0),
            "noise": min(max(self._period().loudness_db + noise.gauss(0, 2.5), 30.0), 110.0),
            "illuminance": max(lamps + 900 * self._sun() * self._clouds * noise.uniform(0.93, 1.0), 0.0),
        }
