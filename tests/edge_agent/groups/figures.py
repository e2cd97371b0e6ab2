"""Print the attack's figures for edge_agent/groups/README.md.

Usage: python -m tests.edge_agent.groups.figures
"""

from __future__ import annotations

import sys

from tests.edge_agent.groups.test_attack import (
    absent_each_fifth,
    every_other_minute,
    mistaken,
    one_joins,
    one_leaves,
    ratio,
    waves,
)

ONE = {"one leaves": one_leaves, "one joins late": one_joins, "every other minute": every_other_minute, "waves": waves}
SIZES = (8, 12, 25, 45)


def main() -> None:
    """Print the tables as Markdown."""
    rows = ["| one lesson; he knows split and course | " + " | ".join(f"{count} pupils" for count in SIZES) + " |"]
    rows.append("|---|" + "---|" * len(SIZES))
    for name, scene in ONE.items():
        for known in (0, 4):
            cells = [f"{ratio(scene, count, known=known, classes=100, knows_trend=True):.2f}" for count in SIZES]
            rows.append(f"| {name}{', four bands his' if known else ''} | {' | '.join(cells)} |")
    rows.append("")
    rows.append("| twelve lessons of one class; he knows the split | 12 pupils | 25 pupils | 45 pupils |")
    rows.append("|---|---|---|---|")
    for name, scene in {**ONE, "absent from each fifth": absent_each_fifth}.items():
        cells = [f"{ratio(scene, n, lessons=12, classes=40, knows_trend=False):.2f}" for n in SIZES[1:]]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    rows.append("")
    rows.append("| what would not do | |")
    rows.append("|---|---|")
    rows.append(f"| mean of all who are there, 12 pupils | {mistaken(every_other_minute, 12, plain=True):.2f} |")
    for draws in (2, 3, 12):
        found = ratio(every_other_minute, 45, lessons=12, classes=120, draws=draws, knows_trend=False)
        rows.append(f"| {draws} draws of the cells in twelve lessons, 45 pupils | {found:.2f} |")
    known = ratio(absent_each_fifth, 12, lessons=12, classes=120, knows_trend=True)
    rows.append(
        f"| absent from each fifth of twelve lessons, 12 pupils, the class's course known exactly | {known:.2f} |"
    )
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
