"""Tables: for people, and as Markdown for the documentation."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

Cells = tuple[str, ...]

BAR = "\\|"
"""A bar within a cell of Markdown."""


NUMBER = re.compile(r"[\d.,]+( of \d+)?")


class Section(NamedTuple):
    """Columns of numbers stand right, all others left."""

    title: str
    head: Cells
    rows: Sequence[Cells]
    notes: Sequence[str] = ()

    def is_number(self, position: int) -> bool:
        return position > 0 and all(not row[position] or NUMBER.fullmatch(row[position]) for row in self.rows)


def print_sections(sections: Sequence[Section]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=200)
    for section in sections:
        long = any(len(cell) > 100 for row in section.rows for cell in row)
        table = Table(title=section.title, title_justify="left", title_style="bold", show_lines=long)
        for position, name in enumerate(section.head):
            table.add_column(name, justify="right" if section.is_number(position) else "left", overflow="fold")
        for row in section.rows:
            table.add_row(*(Text(_printable(cell)) for cell in row))
        console.print(table)
        for note in section.notes:
            console.print(f"- {note}", soft_wrap=True)
        console.print()


def as_markdown(sections: Sequence[Section]) -> str:
    lines: list[str] = []
    for section in sections:
        bars = "|".join("---:" if section.is_number(position) else "---" for position in range(len(section.head)))
        lines += [f"### {section.title}", "", f"| {' | '.join(section.head)} |", f"|{bars}|"]
        lines += [f"| {' | '.join(_printable(cell).replace('|', BAR) for cell in row)} |" for row in section.rows]
        lines += ["", *(f"- {note}" for note in section.notes), *([""] if section.notes else [])]
    return "\n".join(lines)


def _printable(text: str) -> str:
    """What stands in a log must not move the cursor of whoever reads it."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def say(text: str) -> None:
    """Progress, for who waits."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
