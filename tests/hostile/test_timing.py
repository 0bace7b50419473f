"""How long a refusal takes tells nothing about a key: not how much of it is right, and not that it was right once."""

from __future__ import annotations

import contextlib
import gc
import random
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import DEFAULT_PLANS
from gateway.errors import GatewayError
from gateway.services.keys import Keys
from gateway.store.store import Store, open_store
from gateway.store.vault import Vault

ROUNDS, TRIES = 400, 5
TOLERANCE = 0.10                # of the median; what differs by nature, a hash of some bytes more, is below a hundredth


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path, Vault(bytes(32))) as store:
        yield store


async def medians(keys: Keys, texts: dict[str, str], dice: random.Random) -> dict[str, float]:
    """Seconds of a refusal, by the kind of wrong key. They are asked in turn and in changing order: what disturbs disturbs all."""
    took: dict[str, list[float]] = {name: [] for name in texts}
    for _ in range(ROUNDS):
        for name in dice.sample(list(texts), len(texts)):
            began = time.perf_counter()
            with contextlib.suppress(GatewayError):
                await keys.authenticate(texts[name])
            took[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in took.items()}


def apart(measured: dict[str, float]) -> float:
    return (max(measured.values()) - min(measured.values())) / min(measured.values())


async def test_a_refusal_takes_as_long_whatever_of_the_key_is_wrong(store: Store) -> None:
    """A difference that is there is there every time; noise is not. So the smallest of some tries is what counts."""
    keys = Keys(store.database, DEFAULT_PLANS)
    _, right = await keys.create(name="x")
    revoked, gone = await keys.create(name="y")
    await keys.revoke(revoked.id)
    head, id_, secret = right.split("_", 2)

    def wrong(at: int) -> str:
        return f"{head}_{id_}_{secret[:at]}{'A' if secret[at] != 'A' else 'B'}{secret[at + 1:]}"

    texts = {"its first letter": wrong(0), "its middle": wrong(len(secret) // 2), "its last letter": wrong(-1 % len(secret)),
             "all of it": f"{head}_{id_}_{'A' * len(secret)}", "it was revoked": gone}
    gc.disable()
    try:
        tries = [await medians(keys, texts, random.Random(seed)) for seed in range(TRIES)]
    finally:
        gc.enable()
    best = min(tries, key=apart)
    print({name: f"{seconds * 1e6:.1f} µs" for name, seconds in best.items()}, [f"{apart(one):.1%} apart" for one in tries])
    assert apart(best) < TOLERANCE


async def test_the_measure_would_see_a_comparison_that_ends_early(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds the test above to its word: a comparison letter by letter that waits a little at each is found."""
    import hmac

    def early(one: bytes, other: bytes) -> bool:
        for a, b in zip(one, other, strict=False):
            if a != b:
                return False
            time.sleep(0.00005)
        return True

    keys = Keys(store.database, DEFAULT_PLANS)
    _, right = await keys.create(name="x")
    monkeypatch.setattr("gateway.store.keys.hashlib.sha256", lambda raw: type("H", (), {"digest": lambda self: raw[:32].ljust(32)})())
    monkeypatch.setattr(hmac, "compare_digest", early)
    _, known = await keys.create(name="z")
    head, id_, secret = known.split("_", 2)
    texts = {"its first letter": f"{head}_{id_}_{'!' + secret[1:]}", "its last letter": f"{head}_{id_}_{secret[:31]}!{secret[32:]}"}
    measured = await medians(keys, texts, random.Random(1))
    assert apart(measured) > TOLERANCE
