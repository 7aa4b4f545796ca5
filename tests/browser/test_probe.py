from __future__ import annotations
from support.hosted import Hosted
from authpipe.sandbox import seeds

async def test_probe(hosted, window, site, clock):
    await hosted.configure("clicksend")
    session, link = await hosted.mint("clicksend", return_url=f"{site.url}/moved?a=b")
    page = await window.new_page()
    logs = []
    page.on("console", lambda m: logs.append(m.text))
    await page.goto(link)
    await page.fill("#field-username", "ada@example.com")
    await page.fill("#field-api_key", "sandbox-clicksend-key-000000000000000")
    await page.click("button.primary")
    await page.wait_for_timeout(700)
    print("END", page.url, logs, site.visits)
