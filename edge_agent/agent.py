"""The agent: wires the stages, runs one task per device, and stops without losing anything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from device_profiles import load_profile
from edge_agent.auditing import open_audit
from edge_agent.buffer import Buffer, WaitingRoom
from edge_agent.catalogue import GATEWAY_PROFILE, device_info
from edge_agent.clock import boot_id
from edge_agent.collector import DeviceState, listen, poll
from edge_agent.commands import Commands, document_handler
from edge_agent.configuration import open_documents
from edge_agent.devices import Devices, show
from edge_agent.erasing import NAME as ERASURES
from edge_agent.erasing import Eraser
from edge_agent.estimate import estimate
from edge_agent.health import Health, Progress, feed_watchdog, tell
from edge_agent.lessons import LESSON_PROFILE, LessonDevices, make_groups
from edge_agent.notify import notify
from edge_agent.pipeline import Pipeline
from edge_agent.privacy import Gate
from edge_agent.publisher import Broker, Publisher
from edge_agent.registry import create_driver, create_link
from edge_agent.timekeeping import Timekeeper, make_clock, open_room
from telemetry.counters import Counters
from telemetry.driver import DeviceContext, PollDriver, SharedLink
from telemetry.erasure import COMMAND_KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge_agent.auditing import Auditor
    from edge_agent.catalogue import Device
    from edge_agent.configuration import Configuration
    from edge_agent.privacy import Documents
    from edge_agent.settings import MqttSettings
    from telemetry.batch import DeviceInfo

_LOG: Final = logging.getLogger(__name__)
_GOODBYE_S: Final = 3.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """One device, ready to be started."""

    device: Device
    context: DeviceContext
    create: Callable[[], Any]
    polled: bool


async def run_agent(configuration: Configuration) -> None:
    """Run until SIGTERM or SIGINT; everything that was admitted is then acknowledged or on disk."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Agent(configuration).run(stop)


class Agent:
    """One gateway's stages and the tasks between them."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._settings = configuration.settings
        self._counters = Counters()
        self._clock = make_clock(self._settings.clock)
        self._gateway_profile = load_profile(GATEWAY_PROFILE)
        self._links = self._make_links()
        self._states = {name: DeviceState(device=name) for name in configuration.devices}
        self._sources = [self._source(device) for device in configuration.devices.values()]

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Raises ConfigError if a driver or the buffer's folder cannot be used."""
        settings = self._settings
        profiles = {name: device.profile for name, device in self._configuration.devices.items()}
        profiles |= {settings.gateway: self._gateway_profile}
        own = device_info(settings.gateway, settings.gateway, self._gateway_profile)
        infos = {name: device.info for name, device in self._configuration.devices.items()} | {settings.gateway: own}
        buffer, room = await self._open_buffer(infos)
        documents = open_documents(self._configuration, clock=self._clock, counters=self._counters)
        audit = open_audit(settings.privacy_dir, counters=self._counters, now_ns=self._clock.now_ns)
        audit("started", epoch=buffer.epoch, boot=boot_id())
        audit.note_documents(documents)
        rooms = self._configuration.rooms
        gate = Gate(
            profiles,
            rooms=rooms,
            keys=self._configuration.keys,
            in_force=lambda: documents.in_force,
            now_ns=self._clock.now_ns,
            counters=self._counters,
        )
        groups = make_groups(
            profiles,
            rooms,
            keys=self._configuration.keys,
            in_force=lambda: documents.in_force,
            clock=self._clock,
            counters=self._counters,
        )
        pipeline = Pipeline(
            profiles,
            gate=gate,
            sink=buffer,
            room=room,
            clock=self._clock,
            counters=self._counters,
            overhear=groups.take if groups is not None else None,
        )
        lessons = LessonDevices(
            load_profile(LESSON_PROFILE),
            profiles=profiles,
            rooms=rooms,
            infos=infos,
            pipeline=pipeline,
            counters=self._counters,
        )
        publisher = Publisher(
            buffer,
            broker=Broker(
                host=settings.mqtt.host, port=settings.mqtt.port, tls=settings.mqtt.tls, **_login(settings.mqtt)
            ),
            site=settings.site,
            gateway=settings.gateway,
            boot_id=boot_id(),
            simulated=settings.simulated,
            window_s=settings.window_s,
            counters=self._counters,
            backfill_bytes_per_s=settings.mqtt.backfill_bytes_per_s,
            now_ns=self._clock.now_ns,
            clock_known=lambda: self._clock.offset_ns is not None,
            system_clock_right=lambda: self._clock.system_right,
        )
        commands, eraser = self._commands(buffer, documents, pipeline, publisher, audit)
        health = Health(
            settings,
            epoch=buffer.epoch,
            clock=self._clock,
            counters=self._counters,
            devices=self._states,
            buffer=buffer.status,
            documents=documents,
            keys=self._configuration.keys is not None,
            audit=audit.document,
            waiting=room.state,
        )
        devices = Devices(settings, devices=self._configuration.devices, states=self._states, clock=self._clock)
        # A fault of our own ends the agent, but what is in memory is on disk by then.
        async with buffer, contextlib.AsyncExitStack() as at_last, asyncio.TaskGroup() as group:
            at_last.push_async_callback(room.close)
            group.create_task(buffer.run(), name="buffer")
            sending = group.create_task(_erase_then_send(eraser, publisher), name="publisher")
            erasing = group.create_task(eraser.run(), name="eraser")
            sources = [self._start(group, source, pipeline) for source in self._sources]
            timekeeper = Timekeeper(self._clock, room, pipeline, publisher if settings.mqtt.tls else None)
            sources += [
                group.create_task(timekeeper.run(), name="clock"),
                group.create_task(room.run(), name="waiting room"),
                group.create_task(
                    tell(health, publisher.publish_health, pipeline.emit, period_s=settings.health.period_s),
                    name="health",
                ),
                group.create_task(show(devices, publisher.show_devices), name="devices"),
                group.create_task(documents.watch(), name="documents"),
                group.create_task(commands.run(), name="commands"),
                group.create_task(feed_watchdog(self._progress(buffer)), name="watchdog"),
            ]
            if groups is not None:
                sources.append(group.create_task(groups.run(lessons.emit), name="groups"))
            notify("READY=1", f"STATUS=reading {len(profiles) - 1} devices")
            _LOG.info("site %s, gateway %s: reading %d devices", settings.site, settings.gateway, len(profiles) - 1)
            await stop.wait()
            notify("STOPPING=1")
            await _cancelled(sources)
            await asyncio.gather(*(link.close() for link in self._links.values()))
            await pipeline.finish()
            audit("stopped", values_waiting=buffer.status().values)
            buffer.close_open_batches()
            await publisher.publish_health(health.document())
            with contextlib.suppress(TimeoutError):  # a broker that hangs must not keep the data from the disk
                async with asyncio.timeout(_GOODBYE_S):
                    await publisher.stop()
            await _cancelled([sending, erasing])
            await buffer.close()
        if buffer.status().memory_batches:
            _LOG.error("stopped; what is not on disk is lost")
        else:
            _LOG.info("stopped; everything is acknowledged or on disk")

    async def _open_buffer(self, infos: dict[str, DeviceInfo]) -> tuple[Buffer, WaitingRoom]:
        settings = self._settings
        buffer = await Buffer.open(
            settings.buffer.path,
            site=settings.site,
            gateway=settings.gateway,
            simulated=settings.simulated,
            window_s=settings.window_s,
            max_bytes=settings.buffer.max_bytes,
            max_age_days=settings.buffer.age_limits,
            flash_budget_bytes=settings.buffer.flash_budget_bytes,
            estimate=estimate(settings, self._configuration.devices),
            devices=infos,
            counters=self._counters,
            now_ns=self._clock.now_ns,
            clock_synced=self._clock.synced,
        )
        room = await open_room(settings, clock=self._clock, infos=infos, counters=self._counters)
        buffer.count_too(room.disk)
        return buffer, room

    def _commands(
        self, buffer: Buffer, documents: Documents, pipeline: Pipeline, publisher: Publisher, audit: Auditor
    ) -> tuple[Commands, Eraser]:
        settings = self._settings
        eraser = Eraser(
            settings.privacy_dir / ERASURES,
            buffer=buffer,
            documents=documents,
            forget=pipeline.forget,
            unsend=publisher.unsend,
            trusted=self._configuration.cloud_keys,
            site=settings.site,
            gateway=settings.gateway,
            now_ns=self._clock.now_ns,
            audit=audit,
            counters=self._counters,
            again=lambda command: commands.take(msgspec.json.encode(command)),
        )
        documents.on_change += [lambda: audit.note_documents(documents), eraser.look]
        commands = Commands(
            handlers={
                "document": audit.of_command("command_refused", document_handler(documents)),
                COMMAND_KIND: eraser.handle,
            },
            reply=publisher.reply,
            now_ns=self._clock.now_ns,
            counters=self._counters,
            site=settings.site,
            gateway=settings.gateway,
        )
        publisher.on_command = commands.take
        return commands, eraser

    def _make_links(self) -> Mapping[str, SharedLink]:
        first: dict[str, Device] = {}
        for device in self._configuration.devices.values():
            first.setdefault(device.settings.link, device)
        return {
            link.name: create_link(link, first[link.name].profile.link, self._counters)
            for link in self._settings.links
            if link.name in first
        }

    def _progress(self, buffer: Buffer) -> Progress:
        polled = [
            (self._states[source.context.device], source.device.period_s) for source in self._sources if source.polled
        ]
        return Progress(polled, lambda: buffer.status().disk_busy_s)

    def _source(self, device: Device) -> _Source:
        context = DeviceContext(
            device=device.settings.name,
            profile=device.profile,
            options=device.options,
            now_ns=self._clock.even_ns,
            utc_ns=self._clock.now_ns,
            counters=self._counters,
        )
        create: Callable[[], Any] = partial(create_driver, context, self._links[device.settings.link])
        # Made once here, so that a driver that cannot be used stops the start with a clear error.
        return _Source(device=device, context=context, create=create, polled=isinstance(create(), PollDriver))

    def _start(self, group: asyncio.TaskGroup, source: _Source, pipeline: Pipeline) -> asyncio.Task[None]:
        name = source.device.settings.name
        state, link = self._states[name], self._links[source.device.settings.link]
        state.on_lost = partial(pipeline.gone, name)
        if source.polled:
            reading = poll(source.context, source.create, pipeline.emit, state, period_s=source.device.period_s)
            return group.create_task(reading, name=f"device {name}")
        state.link_open = lambda: link.is_open
        return group.create_task(listen(source.create, pipeline.emit, state), name=f"device {name}")


async def _erase_then_send(eraser: Eraser, publisher: Publisher) -> None:
    """Before anything is sent, purge whoever was to go when the agent ended last."""
    await eraser.settle()
    await publisher.run()


def _login(mqtt: MqttSettings) -> dict[str, Any]:
    keys = ("protocol", "username", "password_file", "ca_file", "cert_file", "key_file", "keepalive_s")
    return {key: getattr(mqtt, key) for key in keys}


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
