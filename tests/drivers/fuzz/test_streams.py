"""Mutated streams at the pure decoders: each says what a second decoder says, or refuses; no other error."""

import binascii

from drivers.ble_heart_rate.frame import decode_measurement
from drivers.camera_people.record import decode
from drivers.camera_people.worker.multipart import MultipartParser
from drivers.camera_people.worker.rtsp_probe import parse_response
from drivers.rdm6300.frame import FrameDecoder
from drivers.rdm6300.presence import Presences
from telemetry.errors import ProtocolError
from tests.drivers.fuzz import oracles
from tests.drivers.fuzz.watch import SIZES, Watch

FRAME_S = 0.065
GAP_S = 1.0


def card_frame(card: bytes, *, crlf: bool = False) -> bytes:
    checksum = card[0] ^ card[1] ^ card[2] ^ card[3] ^ card[4]
    return b"\x02" + card.hex().upper().encode() + b"%02X" % checksum + (b"\r\n\x03" if crlf else b"\x03")


@SIZES
def test_rdm6300(cases):
    watch = Watch("rdm6300", cases)
    random = watch.mutator.random
    frames = [card_frame(random.randbytes(5), crlf=at % 3 == 0) for at in range(24)]
    decoder, presences = FrameDecoder(), Presences(confirm_frames=2, gap_s=GAP_S, opened_s=-10.0)
    stream, read, now_s = b"", [], 0.0
    sightings: dict[str, list[float]] = {}
    lying = frames[0]
    for number in watch.numbers():
        if number % 12 == 0:
            lying = random.choice(frames)
            decoder, stream, read = FrameDecoder(), b"", []
        wire = watch.mutator.stream(lying, frames)
        now_s += FRAME_S
        for piece in watch.mutator.pieces(wire):
            for card in decoder.feed(piece):
                read.append(card)
                sightings.setdefault(card, []).append(now_s)
                if presences.sighting(card, now_s=now_s, now_ns=int(now_s * 1e9)) is not None:
                    assert len([at for at in sightings[card] if now_s - at <= GAP_S]) >= 2, (watch.seed, number)
                    watch.taken += 1
        stream += wire
        assert read == oracles.cards(stream), (watch.seed, number, stream.hex())
        if number % 1000 == 0:
            sightings = {card: at for card, at in sightings.items() if now_s - at[-1] <= GAP_S}
    watch.shares(least=0.005)


@SIZES
def test_heart_rate(cases):
    watch = Watch("heart rate", cases)
    good = [
        bytes.fromhex(text)
        for text in (
            "0048", "014800", "012c01", "0648", "0448", "0848e803", "10480004", "104800040003", "1f9600640000040002",
            "1c48e8030004", "0400",
        )
    ]  # fmt: skip
    for number in watch.numbers():
        data = watch.mutator.stream(watch.mutator.random.choice(good), good)
        expected = oracles.heart_rate(data)
        try:
            reading = decode_measurement(data)
        except ProtocolError:
            assert expected is None, (watch.seed, number, data.hex())
            continue
        watch.taken += 1
        assert reading.values | dict.fromkeys(reading.bad) == expected, (watch.seed, number, data.hex())
    watch.shares()


def camera_body(random) -> bytes:
    """The 52 bytes before the sum of a record that a sound worker may send."""
    state = random.randrange(1, 11)
    counted, picture = state == 1, state in {1, 2, 7, 9, 10}
    told = {"version": 2, "state": state, "sequence": random.getrandbits(32)}
    told |= {"people": random.choice((0, 4, 12, 1000)) if counted else oracles.ABSENT}
    told |= {"brightness": random.randrange(10001) if picture else oracles.ABSENT, "looks": 5 if counted else 0}
    told |= {"width": 640, "height": 480, "captured_ns": random.getrandbits(60) + 1} if picture else {}
    told |= {"motion": random.randrange(10001) if picture and random.random() < 0.5 else oracles.ABSENT}
    faces = random.random() < 0.5 and counted
    told |= {"narrowest_px": 17 if faces else oracles.ABSENT, "widest_px": 40 if faces else oracles.ABSENT}
    told |= {name: random.getrandbits(32) for name in ("frames", "skipped", "undecodable", "reopened", "inference_us")}
    body = bytearray(52)
    for name, number in told.items():
        at, size = oracles.RECORD[name]
        body[at : at + size] = number.to_bytes(size, "little")
    return bytes(body)


@SIZES
def test_camera_record(cases):
    watch = Watch("camera record", cases)
    random = watch.mutator.random
    for number in watch.numbers():
        body = camera_body(random)
        if random.random() < 0.5:  # damaged before it was summed: every check but the sum is tried
            body = watch.mutator.stream(body)
            data = body + binascii.crc32(body).to_bytes(4, "little")
        else:
            data = watch.mutator.stream(body + binascii.crc32(body).to_bytes(4, "little"))
        expected = oracles.camera_record(data)
        try:
            record = decode(data)
        except ProtocolError:
            assert expected is None, (watch.seed, number, data.hex())
            continue
        watch.taken += 1
        assert expected is not None, (watch.seed, number, data.hex())
        for name, value in expected.items():
            if name not in {"version", "sum"}:
                assert getattr(record, name) == value, (watch.seed, number, name, data.hex())
    watch.shares()


BOUNDARY = b"--frame"


@SIZES
def test_multipart(cases):
    watch = Watch("multipart", cases)
    random = watch.mutator.random
    for number in watch.numbers():
        parts = []
        for _ in range(random.randrange(1, 4)):
            body = b"\xff\xd8\xff" + random.randbytes(random.randrange(1, 40)) + b"\xff\xd9"
            length = b"Content-Length: %d\r\n" % len(body) if random.random() < 0.7 else b""
            parts.append(b"--frame\r\nContent-Type: image/jpeg\r\n%s\r\n%s\r\n" % (length, body))
        stream = watch.mutator.stream(b"".join(parts), parts)
        parser, found, broken = MultipartParser(BOUNDARY), [], False
        try:
            for piece in watch.mutator.pieces(stream, 6):
                found += parser.feed(piece)
        except ProtocolError:
            broken = True
        expected, refused = oracles.mjpeg_parts(stream, BOUNDARY)
        if broken and refused:
            # The piece in which it is found out costs the whole ones before it in the same piece too.
            assert found == expected[: len(found)], (watch.seed, number, stream)
        else:
            assert (found, broken) == (expected, refused), (watch.seed, number, stream)
        watch.taken += bool(found)
    watch.shares(most=0.99)


@SIZES
def test_rtsp(cases):
    watch = Watch("RTSP", cases)
    random = watch.mutator.random
    sdp = b"v=0\r\nm=video 0 RTP/AVP 96\r\n"
    good = [
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: %d\r\n\r\n%s" % (len(sdp), sdp),
        b'RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm="cam", nonce="n1"\r\n\r\n',
        b"RTSP/1.0 404 Not Found\r\n\r\n",
    ]
    for number in watch.numbers():
        data = watch.mutator.stream(random.choice(good), good)
        whole = None
        for size in sorted({random.randrange(len(data) + 1), len(data)}):
            expected = oracles.rtsp_response(data[:size])
            try:
                whole = parse_response(data[:size])
            except ProtocolError:
                assert expected == "refused", (watch.seed, number, data[:size])
                whole = None
                continue
            told = "more" if whole is None else (whole.status, whole.body)
            assert told == expected, (watch.seed, number, data[:size])
        watch.taken += whole is not None
    watch.shares()
