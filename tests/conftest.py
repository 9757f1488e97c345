"""What all tests share: skips must be allowed by name in CI, and anyio runs on asyncio."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("guard", deadline=None)  # a busy machine is not a failure
settings.load_profile("guard")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--allowed-skips", metavar="FILE", help="fail when a test skips that FILE does not name")


class _SkipWatch:
    """Turns a skip that nobody allowed into a failed run."""

    def __init__(self, file: Path) -> None:
        rows = [line.split("\t", 1) for line in file.read_text().splitlines() if line and not line.startswith("#")]
        self.allowed = [(row[0], row[1]) for row in rows]
        self.others: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(report.nodeid.startswith(start) and why in reason for start, why in self.allowed):
            self.others.append(f"{report.nodeid}: {reason}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.others and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.others:
            terminalreporter.write_line(f"SKIP NOT ALLOWED {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if file := config.getoption("--allowed-skips"):
        config.pluginmanager.register(_SkipWatch(Path(file)))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
