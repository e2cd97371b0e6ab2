"""pytest plugin: simulated classroom devices for the tests of any project.

    def test_reads_the_air(campus_device):
        sensor = campus_device("modbus-rtu", seed=7)
        ...  # let your code read sensor.endpoint
        assert sensor.said()[0]["delivered"]

Loaded in every pytest run where campus-edge is installed: it imports next to nothing until the fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulators.held import Shelf


@pytest.fixture
def campus_device() -> Iterator[Shelf]:
    """Return a factory of simulated devices, `campus_device(kind, **options)`; all are stopped after the test."""
    from simulators.held import Shelf  # noqa: PLC0415 - costs nothing where it is not used

    shelf = Shelf()
    try:
        yield shelf
    finally:
        shelf.stop()
