"""The page that runs the model in the browser, once it is kept: without its server, and as an app."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from served_page import choose, verdict
from web_page import static_site, web_form

pytestmark = pytest.mark.slow

# Asks for a newer version, and returns when it has come or has been given up.
UPDATE = """async () => {
    const registration = await navigator.serviceWorker.ready;
    await registration.update();
    while (registration.installing || registration.waiting) await new Promise((wake) => setTimeout(wake, 20));
}"""
CACHES = "caches.keys().then((names) => names.map((name) => name.split(' ').slice(1).join(' ')).sort())"


def kept(open_page: Any, address: str, **options: Any) -> Any:
    """Opens a page and waits until the device has kept it."""
    page = open_page(address, **options)
    page.locator("#kept").get_by_text("This device has kept it all").wait_for()
    return page


def replace(folder: Path, newer: Path) -> None:
    """Puts a newer export in the place of one, whose files a file server tells apart by the second."""
    shutil.rmtree(folder)
    shutil.copytree(newer, folder)
    for path in folder.rglob("*"):
        os.utime(path, (time.time() + 10, time.time() + 10))


def test_it_answers_with_its_server_gone(open_page: Any, browser: Any, tmp_path: Path) -> None:
    with static_site(web_form(tmp_path)) as address:
        page = kept(open_page, address, foreseen="ERR_CONNECTION_REFUSED")
    page.reload()
    page.locator("#model").wait_for()
    assert page.evaluate("navigator.serviceWorker.controller !== null")
    choose(page, "red", "green")
    assert verdict(page) == "green"
    page.goto(f"{address}index.html")
    page.locator("#kept").get_by_text("without a network").wait_for()
    choose(page, "blue")
    assert verdict(page) == "blue"
    assert page.evaluate("fetch('MODEL_CARD.md').then((one) => one.status)") == 200


def test_a_browser_would_install_it(open_page: Any, browser: Any, tmp_path: Path) -> None:
    with static_site(web_form(tmp_path, recipe={"name": "白鹭"})) as address:
        page = kept(open_page, address)
        session = page.context.new_cdp_session(page)
        manifest = session.send("Page.getAppManifest")
        assert manifest["errors"] == []
        assert json.loads(manifest["data"])["name"] == "白鹭"
        errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
        assert [one for one in errors if one["errorId"] != "in-incognito"] == []


def test_a_new_export_takes_the_place_of_the_old_one(open_page: Any, browser: Any, tmp_path: Path) -> None:
    folder = web_form(tmp_path / "old", recipe={"name": "old"})
    newer = web_form(tmp_path / "new", recipe={"name": "new"})
    with static_site(folder) as address:
        page = kept(open_page, address)
        before = page.evaluate(CACHES)
        replace(folder, newer)
        page.reload()
        page.get_by_role("heading", name="new", exact=True).wait_for()
        choose(page, "red")
        assert verdict(page) == "red"
        assert page.locator(".problem").count() == 0
        after = page.evaluate(CACHES)
    assert len(before) == len(after) == 1
    assert before != after


def test_whoever_has_images_on_the_page_is_asked_to_reload_it(
    open_page: Any, browser: Any, tmp_path: Path
) -> None:
    folder = web_form(tmp_path / "old", recipe={"name": "old"})
    newer = web_form(tmp_path / "new", recipe={"name": "new"})
    with static_site(folder) as address:
        page = kept(open_page, address)
        page.reload()
        page.locator("#model").wait_for()
        choose(page, "red")
        replace(folder, newer)
        page.evaluate(UPDATE)
        page.get_by_role("alert").get_by_text("A newer version of this page has come.").wait_for()
        assert page.title() == "old · pictorch"
        choose(page, "green")
        assert verdict(page) == "green"


def test_an_export_that_arrived_in_part_changes_nothing(open_page: Any, browser: Any, tmp_path: Path) -> None:
    folder = web_form(tmp_path / "old", recipe={"name": "old"})
    newer = web_form(tmp_path / "new", recipe={"name": "new"})
    with static_site(folder) as address:
        page = kept(open_page, address, foreseen="ntegrity")
        before = page.evaluate(CACHES)
        shutil.copy(newer / "service-worker.js", folder)
        os.utime(folder / "service-worker.js", (time.time() + 10, time.time() + 10))
        page.evaluate(UPDATE)
        page.reload()
        page.locator("#model").wait_for()
        assert page.title() == "old · pictorch"
        choose(page, "red")
        assert before[0] in page.evaluate(CACHES)


def test_two_models_of_one_address_keep_apart(open_page: Any, browser: Any, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        web_form(tmp_path / name, recipe={"name": name})
    with static_site(tmp_path) as address:
        page = kept(open_page, f"{address}cats/site/")
        other = page.context.new_page()
        other.goto(f"{address}dogs/site/")
        other.locator("#kept").get_by_text("This device has kept it all").wait_for()
        assert len(other.evaluate(CACHES)) == 2
    for tab, name in ((page, "cats"), (other, "dogs")):
        tab.reload()
        tab.locator("#model").wait_for()
        assert tab.title() == f"{name} · pictorch"


def test_without_https_it_works_while_connected(open_page: Any, browser: Any, tmp_path: Path) -> None:
    hidden = "delete Navigator.prototype.serviceWorker"
    with static_site(web_form(tmp_path)) as address:
        page = open_page(address, script=hidden)
        page.locator("#model").wait_for()
        choose(page, "red")
        assert verdict(page) == "red"
        assert page.locator("#kept").inner_text() == ""
