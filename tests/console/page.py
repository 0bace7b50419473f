"""The console in a browser, as its tests see it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import Browser, ConsoleMessage, Page, Response

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
             "--use-fake-ui-for-media-stream")

# Told to the page before anything of it runs.
WATCH_POLICY = """addEventListener("securitypolicyviolation", (event) =>
  console.error(`refused by the policy: ${event.violatedDirective} ${event.blockedURI}`));"""


@dataclass
class Console:
    """`problems`: what went wrong in the browser; a test that expects one of them takes it out."""

    page: Page
    url: str
    problems: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)        # requests to anywhere else

    async def sign_in(self, key: str) -> None:
        await self.page.get_by_label("API key").fill(key)
        await self.page.get_by_role("button", name="Open the console").click()
        await self.page.locator(".live[data-state=live]").wait_for()

    async def go(self, view: str) -> None:
        await self.page.locator(f"nav.side a[data-view={view}]").click()
        await self.page.locator("main h1").wait_for()

    async def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        wide: int = await self.page.evaluate("""() => Math.max(document.documentElement.scrollWidth - innerWidth,
          ...[...document.querySelectorAll("main, dialog")].map((box) => box.scrollWidth - box.clientWidth))""")
        return wide

    async def findings(self, axe: str) -> list[str]:
        """What axe calls serious or critical, with where."""
        await self.page.evaluate(axe)
        found: list[str] = await self.page.evaluate("""async () => {
          await Promise.all(document.getAnimations().filter((one) => one.effect.getTiming().iterations !== Infinity)
            .map((one) => one.finished.catch(() => {})));
          const { violations } = await axe.run(document, { resultTypes: ["violations"] });
          return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
            .flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target} ${failureSummary}`));
        }""")
        return found


@asynccontextmanager
async def open_console(browser: Browser, url: str, *, theme: str, width: int, height: int) -> AsyncIterator[Console]:
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme,  # type: ignore[arg-type]
                                        permissions=["microphone", "clipboard-read", "clipboard-write"], locale="en-GB")
    context.set_default_timeout(8000)
    page = await context.new_page()
    console = Console(page, url)

    def told(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            console.problems.append(message.text)

    def answered(response: Response) -> None:
        if not response.url.startswith((url, "data:", "blob:")):
            console.foreign.append(response.url)

    page.on("console", told)
    page.on("pageerror", lambda error: console.problems.append(str(error)))
    page.on("response", answered)
    await page.add_init_script(WATCH_POLICY)
    await page.goto(url + "/")
    await page.get_by_label("API key").wait_for()
    yield console
    await context.close()
    assert console.problems == []
    assert console.foreign == []
