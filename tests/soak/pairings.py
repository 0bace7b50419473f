"""Pairings that nobody scans: a session is made, its codes are streamed, and then it is deleted, left, or its codes run out."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.e2e.world import World
from tests.soak.visitors import listen

RUN_OUT_SECONDS = 360.0         # six codes are shown for 160; a connection that is cut meanwhile begins them anew


class Abandoned:
    """`outcomes` counts how they ended."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.outcomes: Counter[str] = Counter()
        self.codes = 0

    async def one(self, name: str, how: str, seconds: float) -> None:
        client = self._world.client
        body: dict[str, Any] = {"session_key": name}
        if how == "code":
            body["pairing_phone"] = "+237612345678"
        made = await client.post("/api/v1/sessions", body)
        if made.status != 201:
            self.outcomes[f"not made: {made.status}"] += 1
            return
        id_ = made.body["id"]
        match how:
            case "deleted" | "code":
                await self._watch(id_, 30, {"pairing_code"} if how == "code" else {"qr"})
            case "left-a-while":                                # the browser's tab is closed; much later somebody tidies up
                await self._watch(id_, 30, {"qr"})
                await asyncio.sleep(seconds)
            case "run-out":
                await self._run_out(id_)
            case "asked-again":
                await self._run_out(id_)
                again = await client.get(f"/api/v1/sessions/{id_}/qr", headers={"Accept": "image/png"})
                self.outcomes[f"asked again: {again.status}"] += 1
            case "left-for-good":
                await self._watch(id_, 30, {"qr"})
                self.outcomes[how] += 1
                return
        gone = await client.delete(f"/api/v1/sessions/{id_}")
        self.outcomes[how if gone.status == 200 else f"not deleted: {gone.status}"] += 1

    async def _watch(self, id_: str, seconds: float, wanted: set[str]) -> str:
        """Streams until one of the wanted events; its name, or '' when the time was over."""
        seen: list[str] = []

        def take(event: str, data: dict[str, Any]) -> bool:
            self.codes += event in ("qr", "pairing_code")
            if event in wanted:
                seen.append(event)
            return bool(seen)

        await listen(self._world.client, f"/api/v1/sessions/{id_}/stream", seconds, take)
        return seen[0] if seen else ""

    async def _run_out(self, id_: str) -> None:
        if await self._watch(id_, RUN_OUT_SECONDS, {"error"}):
            self.outcomes["qr_expired told"] += 1
        else:
            self.outcomes["qr_expired not told"] += 1
