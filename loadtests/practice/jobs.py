"""Days side by side, in at most two processes: each takes a core and a few hundred megabytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

Found = TypeVar("Found")
MOST = 2


def run_jobs(
    work: Callable[..., Found],
    jobs: Sequence[tuple[Any, ...]],
    workers: int,
    tell: Callable[[int, Found], None],
) -> list[Found]:
    """What `work` gives for each job, in their order; `tell` hears of each as soon as it is done."""
    found: dict[int, Found] = {}
    if min(workers, MOST) < 2 or len(jobs) < 2:
        for at, job in enumerate(jobs):
            found[at] = work(*job)
            tell(at, found[at])
        return [found[at] for at in range(len(jobs))]
    with ProcessPoolExecutor(MOST, mp_context=get_context("spawn")) as pool:
        places = {pool.submit(work, *job): at for at, job in enumerate(jobs)}
        try:
            for future in as_completed(places):
                at = places[future]
                found[at] = future.result()
                tell(at, found[at])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [found[at] for at in range(len(jobs))]
