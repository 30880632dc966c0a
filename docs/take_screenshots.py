"""Takes the pictures in docs/screenshots from a running site.

    python docs/take_screenshots.py http://127.0.0.1:8000 [--lengths 1024 4096] [--out docs/screenshots]

Without --lengths: the shortest and the longest length of the board. The site has loaded the baselines that ship. Needs
playwright and a Chromium (LONGBOARD_CHROMIUM).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def lengths_of(page: Page, site: str) -> list[str]:
    page.goto(f"{site}/boards/niah/")
    found = page.locator("#c-length option").evaluate_all("options => options.map(o => o.value).filter(Boolean)")
    if not found:
        sys.exit(f"The board of {site} has no numbers yet: run the demo first.")
    return [found[0], found[-1]] if len(found) > 1 else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site")
    parser.add_argument("--lengths", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "screenshots")
    options = parser.parse_args()
    site, chromium = options.site.rstrip("/"), os.environ.get("LONGBOARD_CHROMIUM") or shutil.which("chromium")
    if not chromium:
        sys.exit("No chromium found: install it, or name it in LONGBOARD_CHROMIUM.")
    options.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, headless=True, args=ARGUMENTS)

        def picture(path: str, name: str, *, width: int = 1280, scheme: str = "light", full: bool = True) -> None:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            page.goto(f"{site}{path}", wait_until="networkidle")
            page.screenshot(path=options.out / f"{name}.png", full_page=full)
            print(options.out / f"{name}.png")
            page.close()

        lengths = options.lengths or lengths_of(browser.new_page(), site)
        for length in lengths:
            picture(f"/boards/niah/?length={length}", f"board-{length}")
        picture(f"/boards/niah/?length={lengths[-1]}", f"board-{lengths[-1]}-dark", scheme="dark")
        picture(f"/boards/niah/?length={lengths[-1]}", f"board-{lengths[-1]}-narrow", width=360, full=False)
        picture("/boards/niah/lengths/?threshold=0.5", "lengths")
        picture("/boards/niah/lengths/?threshold=0.5", "lengths-narrow-dark", width=320, scheme="dark", full=False)
        page = browser.new_page()
        page.goto(f"{site}/boards/niah/?length={lengths[0]}")
        slugs = page.locator("input[name='system'][form='compare']").evaluate_all("boxes => boxes.map(b => b.value)")
        asked = "&".join(f"system={slug}" for slug in slugs[:3])
        picture(f"/compare/?{asked}", "compare")
        picture(f"/crossover/?{'&'.join(asked.split('&')[:2])}", "crossover")
        picture(f"/systems/{slugs[0]}/", "system", full=False)
        picture("/", "home")
        picture("/boards/kv/", "board-kv", full=False)
        picture("/methods/snapkv/", "method")
        for length in (512, 16_384):
            picture(f"/boards/niah/?hardware=nvidia-h200&length={length}", f"zoo-{length}")
        page = browser.new_page()
        page.goto(f"{site}/boards/niah/?length={lengths[0]}")
        model = page.locator("table.board tbody th a").first.get_attribute("href")
        picture(str(model), "model")
        browser.close()


if __name__ == "__main__":
    main()
