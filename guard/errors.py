"""Every error the guard raises on purpose.

    GuardError
    ├── PolicyError      a policy that cannot be used; `.problems` holds every fault at once
    ├── CatalogueError   an agent file that cannot be used; `.problems` likewise
    ├── TargetError      a request target that cannot be read one way (the edge answers 400)
    ├── StoreError       the shared store did not answer; never reaches a client
    ├── ChoiceError      what somebody said of a work's rights cannot be read
    └── RegisterError    a register of rights cannot be read or written

Foreign errors are turned into these at the one door of each dependency.
"""

from __future__ import annotations

from dataclasses import dataclass


class GuardError(Exception):
    """The root: catch this to catch everything the guard raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a file, with its place. Lines and columns count from 1; 0 means the whole file.

    `level` is "error" (the file is refused) or "warning" (it works, but hardly as meant).
    """

    file: str
    line: int
    message: str
    column: int = 0
    level: str = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


class _Problems(GuardError):
    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class PolicyError(_Problems):
    """A policy was refused. `problems` is never empty and is sorted by line."""


class CatalogueError(_Problems):
    """An agent file was refused. `problems` is never empty."""


class TargetError(GuardError):
    """A request target with no single safe reading; `reason` is for the log, never for the client."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class StoreError(GuardError):
    """The shared store failed or was too late; the caller goes local."""


class ChoiceError(GuardError):
    """What was said of a work cannot be read; `key` names the place in it ("" = the whole), `message` what to write."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        self.message = message
        super().__init__(f"{key}: {message}" if key else message)


class RegisterError(GuardError):
    """A register of rights is not there, is none, or refused to be written."""
