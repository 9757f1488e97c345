"""One of several workers is cut off from the server: it alone is local, and the others count as if it were away."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from guard.model import Limit
from guard.stores.redis import RedisStore
from tests.chaos.fleet import node
from tests.chaos.load import BACK_WITHIN_S, Load, keys, local_share, opened, shared_but_strays, within_bound
from tests.chaos.proxy import proxy
from tests.chaos.test_server_fails import EXACT
from tests.servers import eventually

WORKERS = 4
RATE = Limit("rate", 200, 1.0, 20)
SCARCE = Limit("scarce", 1, 3600.0, 40, precision="exact")


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["blackhole", "reset", "delay"])
async def test_only_the_worker_that_is_cut_off_is_local(fault: str) -> None:
    async with AsyncExitStack() as stack:
        valkey = stack.enter_context(node("valkey"))
        networks = [await stack.enter_async_context(proxy(valkey.port)) for _ in range(WORKERS)]
        workers = [RedisStore(network.url, workers=WORKERS) for network in networks]
        await stack.enter_async_context(opened(*workers))
        wide = await stack.enter_async_context(Load(workers, EXACT, keys(40), 400))
        hot = await stack.enter_async_context(Load(workers, RATE, [b"hot"], 400))
        scarce = await stack.enter_async_context(Load(workers, SCARCE, [b"scarce"], 100))
        assert shared_but_strays(await wide.more(100))
        cut = networks[0]
        match fault:
            case "blackhole":
                cut.blackhole()
            case "reset":
                cut.reset()
            case "delay":
                cut.delay(0.2)
        await eventually(lambda: workers[0].breaker_open, within_s=0.5)
        during = await wide.more(400)
        assert not any(one.shared for one in during if one.worker == 0)
        assert shared_but_strays([one for one in during if one.worker > 0])
        assert [store.breaker_open for store in workers] == [True, False, False, False]
        cut.passing()
        await eventually(wide.says(lambda one: one.shared, last=40), within_s=BACK_WITHIN_S)
        assert shared_but_strays(await wide.more(100))

    assert all(one.allowed for one in wide.answers)
    within_bound((one for one in hot.answers if one.shared), RATE)
    within_bound(hot.answers, RATE, extra=lambda width: local_share(RATE, WORKERS, width, alone=1))
    # What the server admitted but could not say is lost to the worker that was cut off, never to the others twice.
    by_all = [one for one in scarce.answers if one.allowed and one.shared]
    alone = [one for one in scarce.answers if one.allowed and not one.shared]
    assert SCARCE.burst - 10 <= len(by_all) <= SCARCE.burst
    assert len(alone) <= SCARCE.burst // WORKERS
