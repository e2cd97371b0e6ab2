"""Evaluation: how well a folder of pictures is counted, held against a CSV of what they truly show. Numbers only.

The files are read here and never decoded: their bytes go to a worker without network and files, and rows come back.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import mean, median
from typing import TYPE_CHECKING, Any, Final

from drivers.camera_people.assignment import FILE, Assignment, pack
from drivers.camera_people.exits import said
from drivers.camera_people.process import launch
from drivers.camera_people.scores import HEAD, MAX_PICTURE, SCORE_SIZE, Fate, Score, pack_picture, unpack_score
from drivers.camera_people.truth import Truth, parse_truth
from telemetry.errors import ConfigError, DeviceUnavailable, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.camera_people.options import Options

MODULE: Final = "drivers.camera_people.worker.evaluating"
KINDS: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
PICTURE_S: Final = 60.0
LARGE_FROM: Final = 16
"""Pictures with at least so many people are also judged apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Pictures, and what is known of them."""

    pictures: tuple[Path, ...]
    truths: tuple[Truth | None, ...]
    boxed: bool


def read_job(folder: Path, table: Path | None) -> Job:
    """Return the pictures in `folder`, or those that `table` names. Raises ConfigError with all that is wrong."""
    if not folder.is_dir():
        raise ConfigError(
            [Problem(where=str(folder), what="there is no such folder", mend="name a folder of pictures")]
        )
    if table is None:
        pictures = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in KINDS))
        if not pictures:
            mend = f"put pictures there: {', '.join(sorted(KINDS))}"
            raise ConfigError([Problem(where=str(folder), what="there is no picture in it", mend=mend)])
        return Job(pictures=pictures, truths=(None,) * len(pictures), boxed=False)
    try:
        truths, boxed = parse_truth(table.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Problem(where=str(table), what=str(error.strerror), mend="name a CSV file")]) from error
    except ValueError as error:
        raise ConfigError([Problem(where=str(table), what=str(error), mend="see models/README.md")]) from error
    missing = [name for name in truths if not (folder / name).is_file()]
    if missing or not truths:
        what = f"not in {folder}: {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}" if missing else "no line"  # noqa: PLR2004
        mend = "names are relative to the folder"
        raise ConfigError([Problem(where=str(table), what=what, mend=mend)])
    return Job(pictures=tuple(folder / name for name in truths), truths=tuple(truths.values()), boxed=boxed)


async def evaluate(job: Job, options: Options) -> dict[str, Any]:
    """Return what is in `summary`. Raises DeviceUnavailable if the worker ends, ConfigError for an unreadable file."""
    assignment = Assignment(
        url="",
        capture=FILE,
        path="/dev/null",
        memory_mb=0,
        input_width=options.input_width,
        method=options.method,
        threshold=options.face_threshold,
        people_threshold=options.people_threshold,
        masks=options.masks,
        zones=options.zones,
        dark_below=options.dark_below,
    )
    process, reader, writer = await launch(MODULE)
    scores = []
    try:
        writer.write(pack(assignment))
        for path, truth in zip(job.pictures, job.truths, strict=True):
            writer.write(pack_picture(_bytes_of(path), truth.boxes if truth else ()))
            async with asyncio.timeout(PICTURE_S):
                await writer.drain()
                scores.append(unpack_score(await reader.readexactly(SCORE_SIZE)))
        writer.write(HEAD.pack(0, 0))
    except TimeoutError:
        raise DeviceUnavailable(f"a picture took more than {PICTURE_S:g} s", timed_out=True) from None
    except (OSError, asyncio.IncompleteReadError):
        raise DeviceUnavailable(f"the evaluating worker {said(await process.wait())}") from None
    finally:
        writer.close()
        if process.returncode is None:
            process.kill()
        await process.wait()
    return summary(scores, job)


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        what = str(error.strerror)
        raise ConfigError([Problem(where=str(path), what=what, mend="mend its rights, or leave it out")]) from error
    if not 0 < len(data) <= MAX_PICTURE:
        what = f"{len(data)} bytes"
        mend = f"pictures have 1 to {MAX_PICTURE} bytes"
        raise ConfigError([Problem(where=str(path), what=what, mend=mend)])
    return data


def summary(scores: list[Score], job: Job) -> dict[str, Any]:
    """Return numbers by name; what cannot be known is not there."""
    rows = [(score, truth) for score, truth in zip(scores, job.truths, strict=True) if score.fate is Fate.COUNTED]
    micros = sorted(score.micros for score, _ in rows)
    found: dict[str, Any] = {
        "pictures": len(scores),
        "not_counted": {
            fate.name.lower(): number
            for fate in Fate
            if fate is not Fate.COUNTED and (number := sum(score.fate is fate for score in scores))
        },
        "people_counted": sum(score.people for score, _ in rows),
    }
    known = [(score, truth) for score, truth in rows if truth is not None]
    if known:
        found |= {"people_true": sum(truth.people for _, truth in known), **_errors(known)}
        crowded = [(score, truth) for score, truth in known if truth.people >= LARGE_FROM]
        if crowded:
            found[f"with_{LARGE_FROM}_and_more"] = {"pictures": len(crowded), **_errors(crowded)}
    if known and job.boxed:
        boxes = sum(len(truth.boxes) for _, truth in known)
        weighted = sum(score.coverage * len(truth.boxes) for score, truth in known)
        found |= {
            "recall": _part(sum(score.found for score, _ in known), boxes),
            "coverage": _part(weighted, boxes),
            "wholly_covered": _part(sum(score.hidden for score, _ in known), boxes),
        }
    if rows:
        left = {
            "faces": sum(score.faces_left for score, _ in rows),
            "people": sum(score.people_left for score, _ in rows),
        }
        found["residual_detections"] = left
        found["milliseconds"] = {"median": micros[len(micros) // 2] / 1000, "worst": micros[-1] / 1000}
    return found


def _errors(rows: list[tuple[Score, Truth]]) -> dict[str, Any]:
    errors = [abs(score.people - truth.people) for score, truth in rows]
    relative = [error / truth.people for error, (_, truth) in zip(errors, rows, strict=True) if truth.people]
    found: dict[str, Any] = {
        "mean_absolute_error": round(mean(errors), 4),
        "median_absolute_error": median(errors),
        "bias": round(mean(score.people - truth.people for score, truth in rows), 4),
        "exact": _part(sum(error == 0 for error in errors), len(errors)),
    }
    if relative:
        found["mean_relative_error"] = round(mean(relative), 4)
    empty = [score.people for score, truth in rows if not truth.people]
    if empty:
        found["people_in_empty_pictures"] = sum(empty)
    return found


def _part(some: float, every: float) -> float | None:
    return round(some / every, 4) if every else None
