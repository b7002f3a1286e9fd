"""One pool of connections for each process and event loop, shared by all models that talk HTTP.

Proxies and `.netrc` are left alone unless MUSIC_TRUST_ENV=1 asks aiohttp to honour them (HTTP_PROXY, HTTPS_PROXY,
NO_PROXY): a proxy meant for the browser must not see the traffic to a server on this machine.
"""

import asyncio
import os
from weakref import WeakKeyDictionary, WeakSet

import aiohttp

__all__ = ["join_pool", "leave_pool"]

_KEEPALIVE_SECONDS = 30.0


class _Pool:
    """A session and the models that use it."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
        self.session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=os.environ.get("MUSIC_TRUST_ENV") == "1",
        )
        self.users: WeakSet[object] = WeakSet()


_POOLS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()


def join_pool(user: object) -> aiohttp.ClientSession:
    """Return the running loop's session, and count `user` among those who need it."""
    loop = asyncio.get_running_loop()
    pool = _POOLS.get(loop)
    if pool is None or pool.session.closed:
        pool = _POOLS[loop] = _Pool()
    pool.users.add(user)
    return pool.session


async def leave_pool(user: object) -> None:
    """Close the running loop's session if `user` was the last to need it."""
    loop = asyncio.get_running_loop()
    pool = _POOLS.get(loop)
    if pool is None:
        return
    pool.users.discard(user)
    if not pool.users:
        del _POOLS[loop]
        await pool.session.close()
