"""A way on which requests go nowhere and no answer comes: to see what would be sent."""

from __future__ import annotations

import asyncio

import httpx

__all__ = ["Nowhere"]


class Nowhere(httpx.AsyncBaseTransport):
    """Takes every request and waits for ever; who sends is stopped with the run."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait until the run is stopped."""
        await request.aread()
        await asyncio.Event().wait()
        raise AssertionError
