"""Places for lines: nobody who waits for one loses it, or keeps others from it."""

import asyncio

import pytest

from mlx_notebook.server.batches.line_places import LinePlaces

pytestmark = pytest.mark.anyio


async def test_a_place_given_back_while_one_who_waits_is_cancelled_goes_to_the_next() -> None:
    places = LinePlaces(1)
    await places.take("ann")
    first = asyncio.create_task(places.take("bob"))
    second = asyncio.create_task(places.take("cleo"))
    await asyncio.sleep(0)
    first.cancel()
    places.give_back("ann")
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    places.give_back("cleo")
    await places.take("dora")
