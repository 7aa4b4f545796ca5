"""Whether a page fits its window, and whether its text can be read."""

from __future__ import annotations

from playwright.async_api import Page


async def fits(page: Page) -> bool:
    """Nothing scrolls sideways."""
    return bool(
        await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    )


async def faint(page: Page) -> list[str]:
    """Texts below the contrast of 4.5 to 1 that WCAG 2.2 (1.4.3) asks for."""
    found: list[str] = await page.evaluate(
        """() => {
          const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
          const light = (colour) => {
            const [r, g, b] = numbers(colour).slice(0, 3).map((part) => {
              const share = part / 255;
              return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = (element) => {
            for (let at = element; at; at = at.parentElement) {
              const colour = getComputedStyle(at).backgroundColor;
              const parts = numbers(colour);
              if (parts.length === 3 || parts[3] === 1) return colour;
            }
            return "rgb(255, 255, 255)";
          };
          const faint = [];
          for (const element of document.querySelectorAll("main *")) {
            const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
            if (!own) continue;
            const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${element.textContent.trim()}`);
          }
          return faint;
        }"""
    )
    return found
