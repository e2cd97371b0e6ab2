"""Mutated frames at whole drivers, in an event loop whose clock jumps: no crash, no hang, never a wrong value."""

import asyncio
import io
import socket
import threading

from drivers.ble_heart_rate import create as bands
from drivers.ble_heart_rate.frame import HEART_RATE_SERVICE, HUAMI
from drivers.camera_people.assignment import Assignment
from drivers.camera_people.worker.mjpeg import MjpegSource
from drivers.links.advert import Advert, Peer
from drivers.modbus import create
from telemetry.counters import Counters
from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError
from tests.drivers.fuzz import oracles
from tests.drivers.fuzz.virtual import FarLink, VirtualLoop
from tests.drivers.fuzz.watch import SIZES, Watch
from tests.drivers.helpers import context

UNIT, OTHER = 1, 2
PERIOD_S = 0.05
LONGEST_S = 1.5
"""A reading ends in so much of the loop's time, whatever comes: 0.6 s for it, and what the line needs to be quiet."""
SIX = [
    ("humidity", 0, "u16", "0.1"), ("temperature", 1, "s16", "0.1"), ("co2", 2, "u16", "1"), ("pm2_5", 3, "u16", "1"),
    ("noise", 4, "u16", "0.1"), ("illuminance", 5, "u32", "1"), ("sequence", 7, "u32", "1"),
]  # fmt: skip
"""The sensor's register map, as its data sheet has it."""
BOX_AIR = [
    (name, 2 * at, "f32", "1")
    for at, name in enumerate(("temperature", "humidity", "co2", "pm2_5", "illuminance", "noise"))
]
BOX_COUNT = [("sequence", 0, "u32", "1")]
RTU_COLLISIONS = 1 / 5000
"""A 16-bit CRC passes one damaged frame in 65,536, and a flipped pair of a repeated one more often."""


def rtu(unit: int, function: int, data: bytes) -> bytes:
    body = bytes((unit, function, len(data))) + data
    return body + oracles.modbus_crc(body)


def rtu_exception(unit: int, function: int, code: int) -> bytes:
    body = bytes((unit, function | 0x80, code))
    return body + oracles.modbus_crc(body)


class FarEnd:
    """Answers each request with a mutated reply; keeps what was on the wire since `listen`."""

    def __init__(self, watch: Watch, reply) -> None:
        self._mutator = watch.mutator
        self._reply = reply
        self.wire = b""
        self.asked: list[bytes] = []

    def listen(self) -> None:
        self.wire, self.asked = b"", []

    def answer(self, request: bytes) -> list[tuple[float, bytes]]:
        random = self._mutator.random
        good, others = self._reply(request)
        data = self._mutator.stream(good, others)
        self.asked.append(request)
        self.wire += data
        return [(random.random() * 0.005, piece) for piece in self._mutator.pieces(data)]


def run(main) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main)


@SIZES
def test_modbus_rtu(cases):
    watch = Watch("Modbus RTU", cases)
    random = watch.mutator.random
    truth = b""
    wrong = 0

    def reply(request: bytes) -> tuple[bytes, list[bytes]]:
        assert request[-2:] == oracles.modbus_crc(request[:-2])
        assert request[:6] == bytes((UNIT, 3, 0, 0, 0, 9))
        busy = rtu_exception(UNIT, 3, 6)
        return rtu(UNIT, 3, truth), [rtu(OTHER, 3, random.randbytes(18)), busy, rtu(UNIT, 4, random.randbytes(18))]

    async def main() -> None:
        nonlocal truth, wrong
        loop, counters = asyncio.get_running_loop(), Counters()
        far = FarEnd(watch, reply)
        link = FarLink(counters, far.answer)
        unit = create(context("a", "modbus/multisensor_6in1", counters, framing="rtu", unit=UNIT), link)
        for number in watch.numbers():
            truth = random.randbytes(18)
            far.listen()
            began_s = loop.time()
            try:
                sample = await unit.read()
            except (DeviceUnavailable, ProtocolError):
                pass
            else:
                watch.taken += 1
                assert sample.bad == {}
                if sample.values != oracles.registers(truth, SIX):
                    wrong += 1
                    said = [oracles.registers(data, SIX) for data in oracles.rtu_replies(far.wire, UNIT, 3, 9)]
                    assert sample.values in said, (watch.seed, number, far.wire.hex())
            assert loop.time() - began_s < LONGEST_S, (watch.seed, number, far.wire.hex())
            await asyncio.sleep(PERIOD_S)
        await link.close()

    run(main())
    print(f"values that a damaged frame with a right CRC gave: {wrong}")  # noqa: T201
    assert wrong <= max(1, cases * RTU_COLLISIONS)
    watch.shares()


@SIZES
def test_modbus_tcp(cases):
    """TCP has its own sums, so damaged data would be what the box said: only what frames them is on trial here."""
    watch = Watch("Modbus TCP", cases)
    random = watch.mutator.random
    maps = {3: (4, BOX_COUNT), 4: (24, BOX_AIR)}
    earlier: list[bytes] = []

    def reply(request: bytes) -> tuple[bytes, list[bytes]]:
        transaction, unit, function = request[:2], request[6], request[7]
        size = maps[function][0]
        good = transaction + bytes((0, 0, 0, 3 + size, unit, function, size)) + random.randbytes(size)
        late = random.choice(earlier) if earlier and random.random() < 0.2 else b""
        earlier[:] = [good, *earlier[:3]]
        return late + good, earlier

    async def main() -> None:
        loop, counters = asyncio.get_running_loop(), Counters()
        far = FarEnd(watch, reply)
        link = FarLink(counters, far.answer)
        unit = create(context("a", "modbus/airbox_tcp", counters, framing="tcp", unit=UNIT), link)
        for number in watch.numbers():
            before, began_s = far.wire[-400:], loop.time()
            far.listen()
            far.wire = before  # what came too late for an earlier reading is on this one's wire too
            try:
                sample = await unit.read()
            except (DeviceUnavailable, ProtocolError):
                pass
            else:
                watch.taken += 1
                for function, (size, layout) in maps.items():
                    names = [name for name, *_ in layout]
                    values = {name: sample.values[name] for name in names if name in sample.values}
                    possible = [
                        oracles.registers(data, layout)
                        for request in far.asked
                        if request[7] == function
                        for data in oracles.tcp_replies(far.wire, request[:2], UNIT, function, size // 2)
                    ]
                    assert not values or values in possible, (watch.seed, number, function, values, possible)
            assert loop.time() - began_s < LONGEST_S, (watch.seed, number, far.wire.hex())
            await asyncio.sleep(PERIOD_S)
        await link.close()

    run(main())
    watch.shares()


@SIZES
def test_bands(cases):
    """Adverts of both formats, each as a whole driver takes it: a band's values are those that its bytes say."""
    watch = Watch("bands", cases)
    random = watch.mutator.random
    ids = [random.randbytes(6) for _ in range(12)]
    service = [
        bytes.fromhex(text) + band
        for text in ("0648", "0448", "0848e803", "10480004", "1f9600640000040002")
        for band in ids
    ]
    mi = [random.randbytes(3) + bytes((96,)) + random.randbytes(14) + band for band in ids]

    async def main() -> None:
        options = {"bindings": "roster", "repeat_s": 0}
        readers = {
            profile: bands(context("gym", profile, format=form, **options), None)
            for profile, form in (("ble/heart_rate_service", "heart_rate_service"), ("ble/mi_band_hr", "mi_band"))
        }
        for number in watch.numbers():
            mine = number % 2 == 0
            data = watch.mutator.stream(random.choice(service if mine else mi), service if mine else mi)
            advert = Advert(
                at_ns=number,
                manufacturer={} if mine else {HUAMI: data},
                services={HEART_RATE_SERVICE: data} if mine else {},
                offers=frozenset(),
                name=None,
                peer=Peer(None),
            )
            if mine:
                said = oracles.heart_rate(data[:-6])
                empty = data[-6:] in {bytes(6), b"\xff" * 6}
                expected = None if said is None or len(data) <= 6 or empty else (data[-6:].hex().upper(), said)
            else:
                heard = oracles.mi_band(data)
                expected = None if heard is None else (heard[0], {"heart_rate": heard[1]})
            sample = readers["ble/heart_rate_service" if mine else "ble/mi_band_hr"]._advertised(advert)
            if sample is None:
                assert expected is None, (watch.seed, number, data.hex())
                continue
            watch.taken += 1
            told = sample.values | dict.fromkeys(sample.bad)
            assert expected is not None, (watch.seed, number, data.hex())
            assert (sample.subject.identifier, told) == expected, (watch.seed, number, data.hex())
            assert sample.acquired_at_ns == number

    run(main())
    watch.shares()


class Camera:
    """A socket to a camera that says `data` and hangs up."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_args, **_kwargs):
        return io.BufferedReader(io.BytesIO(self._data), 64)

    def sendall(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n")

    def close(self) -> None:
        pass

    def setsockopt(self, *_args):
        pass

    settimeout = setsockopt


JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"
PART = b"--b\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(JPEG), JPEG)
PLAIN = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\nConnection: close\r\n\r\n" + 3 * PART
)
CHUNK = b"%x\r\n%s\r\n" % (len(PART), PART)
CHUNKED = PLAIN[: PLAIN.index(b"\r\n\r\n")] + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + 2 * CHUNK + b"0\r\n\r\n"
LOGIN = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="c", nonce="n", qop="auth", algorithm=SHA-256\r\n\r\n'
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN


@SIZES
def test_http(cases, monkeypatch):
    watch = Watch("HTTP", cases)
    random = watch.mutator.random
    answers = [PLAIN, PLAIN, CHUNKED, LOGIN, CONTINUED]
    said: list[bytes] = []

    def connect(*_args, **_kwargs):
        data = watch.mutator.stream(random.choice(answers), answers)
        said.append(data)
        return Camera(data)

    monkeypatch.setattr(socket, "create_connection", connect)
    # All of it lies ready, and all is asked for here.
    monkeypatch.setattr(MjpegSource, "_newest", lambda self: (self._parts.popleft(), 0.0))
    wanted = threading.Event()
    wanted.set()
    assignment = Assignment(url="http://[::1]/x", capture="mjpeg", username="u", password="p", stalled_s=5.0)  # noqa: S106
    for number in watch.numbers():
        said.clear()
        source, pictures = MjpegSource(assignment), []
        try:
            source.open()
            for _ in range(20):
                try:
                    pictures.append(source.next(wanted).data)
                except ProtocolError:
                    continue  # a part that is no picture; the reader gives it some tries too
        except (AuthError, DeviceUnavailable, ProtocolError):
            pass
        finally:
            source.close()
        assert len(said) <= 2, (watch.seed, number)
        watch.taken += bool(pictures)
        for picture in pictures:
            assert picture.startswith(b"\xff\xd8\xff"), (watch.seed, number, said)
            assert b"chunked" in b"".join(said) or any(picture in data for data in said), (watch.seed, number, said)
    watch.shares()
