"""Carry journey, customer and parent span into the threads of a pool."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import cxtrace
from cxtrace import ContextThreadPoolExecutor, interaction, journey, touchpoint


def change_quantity(item: str) -> str:
    with interaction("change_quantity"):
        return f"{item}: two"


def with_a_pool_of_ours(items: list[str]) -> list[str]:
    with touchpoint("cart.view"), ContextThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(change_quantity, items))


def with_a_pool_of_others(items: list[str]) -> list[str]:
    with touchpoint("cart.view"), ThreadPoolExecutor(max_workers=2) as pool:
        waiting = [pool.submit(cxtrace.wrap(change_quantity), item) for item in items]
        return [each.result() for each in waiting]


async def with_asyncio(items: list[str]) -> list[str]:
    async with touchpoint("cart.view"):
        return [await asyncio.to_thread(change_quantity, item) for item in items]


if __name__ == "__main__":
    cxtrace.configure(service_name="shop", journey_map="examples/journeys.toml", exporter="console")
    with journey("first_order"):
        print(with_a_pool_of_ours(["shoes", "hat"]))
        print(with_a_pool_of_others(["shoes", "hat"]))
        print(asyncio.run(with_asyncio(["shoes", "hat"])))
