"""Every test here must leave nothing behind, and what a missing server kept from running is said at the end."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests import leaks
from tests.coverage_report import not_covered, require_server

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# Before any test imports onnxruntime, which would tell its maker about this machine.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_BEFORE = pytest.StashKey[leaks.Before]()
_LEFT_BY_WORKERS = pytest.StashKey[list[str]]()

# Whether a change lands must not hang on luck: the everyday examples are the same each time, the long ones are not.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=60, derandomize=True, **_COMMON)
settings.register_profile("long", max_examples=3000, print_blob=True, **_COMMON)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-long", action="store_true", help="run the tests marked long too (make test-long)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEFT_BY_WORKERS] = []
    leaks.adopt_orphans()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--run-long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long → make test-long"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("server"):
        for name in marker.args:
            require_server(name)


@pytest.fixture(autouse=True)
def _leaves_no_thread_or_process(request: pytest.FixtureRequest) -> None:
    # A fixture, since those of a wider scope are set up by now and may keep what they started.
    request.node.stash[_BEFORE] = leaks.snapshot()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    # Around the teardown, not in a fixture: the event loop joins its threads only when it is closed.
    yield
    before = item.stash.get(_BEFORE, None)
    if before is not None and (left := leaks.left_since(before)):
        pytest.fail(f"the test left behind: {'; '.join(left)}", pytrace=False)


@pytest.fixture
async def _test_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@pytest.fixture(autouse=True)
def _leaves_no_task(request: pytest.FixtureRequest, _leaves_no_thread_or_process: None) -> Iterator[None]:
    # pytest-asyncio cancels leftover tasks silently when it closes the loop; so look before it does.
    if request.node.get_closest_marker("asyncio") is None:
        yield
        return
    loop = request.getfixturevalue("_test_loop")
    yield
    if left := leaks.left_tasks(loop):
        pytest.fail(f"the test left behind: {'; '.join(left)}", pytrace=False)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what an xdist worker found at its end."""
    node.config.stash[_LEFT_BY_WORKERS].extend(getattr(node, "workeroutput", {}).get("left", []))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run whose fixtures of a wider scope leave a process behind."""
    config = session.config
    worker_output = getattr(config, "workeroutput", None)
    if not config.getoption("numprocesses", None) or worker_output is not None:
        nothing = leaks.Before(threads=leaks.threads(), processes=frozenset())
        config.stash[_LEFT_BY_WORKERS].extend(leaks.left_since(nothing))
    if worker_output is not None:
        worker_output["left"] = config.stash[_LEFT_BY_WORKERS]
    elif config.stash[_LEFT_BY_WORKERS] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    missing = not_covered(terminalreporter.stats.get("skipped", []))
    if missing:
        terminalreporter.section("not covered, for want of a server", yellow=True)
        for server, tests in sorted(missing.items()):
            terminalreporter.line(f"{server}: {len(tests)} tests, such as {tests[0]}")
    if left := config.stash[_LEFT_BY_WORKERS]:
        terminalreporter.section("left behind by fixtures of the session", red=True)
        for what in left:
            terminalreporter.line(what)
