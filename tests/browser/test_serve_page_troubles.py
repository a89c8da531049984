"""What the page says when there is no answer, and what it does about it."""

from pathlib import Path
from typing import Any

import pytest

from served_page import COLORS, Visit, choose, png, serving, upload, verdict

pytestmark = pytest.mark.slow

QUICKLY = "const real = setTimeout; window.setTimeout = (wake, ms) => real(wake, ms / 40);"
BUSY = {"error": {"code": "full", "message": "the server is full; come back in a second", "request_id": "a1"}}
REFUSED = "Failed to load resource"


def test_one_bad_file_spoils_no_other_answer(visit: Visit) -> None:
    page = visit(foreseen=REFUSED)
    files = [upload("notes.png", b"buy milk"), upload("red.png", png(COLORS["red"])), upload("none.png", b"")]
    page.set_input_files("#files", files)
    page.get_by_text("1 of 3 images answered").wait_for()
    assert verdict(page) == "red"
    problems = page.locator(".problem").all_inner_texts()
    assert len(problems) == 2
    assert problems[0].startswith("notes.png ")
    assert "Not an image (it starts like text); use one of" in problems[0]
    assert "Request " in problems[0]
    assert problems[1].startswith("none.png Is empty")
    assert page.get_by_role("button", name="Try again").count() == 0
    choose(page, "green")
    assert page.locator(".problem").count() == 0


def test_an_image_beyond_the_limit_is_not_sent(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    assert page.locator("#limit").inner_text() == "Up to 16\u00a0MB and 25 megapixels each"
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(16 * 2**20)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.set_input_files("#files", tmp_path / "huge.png")
    page.get_by_role("alert").get_by_text("It is larger than this server takes").wait_for()
    assert requests == []


def test_what_a_browser_cannot_show_is_answered_all_the_same(visit: Visit) -> None:
    page = visit()
    pixels = b"\xff\x00\x00" * 64
    ppm = b"P6 8 8 255\n" + pixels
    page.set_input_files("#files", [upload("red.ppm", ppm, "image/x-portable-pixmap")])
    page.get_by_text("the browser cannot show this kind of file").wait_for()
    assert verdict(page) == "red"
    assert not page.locator("#photo").is_visible()
    choose(page, "green")
    assert page.locator("#photo").is_visible()


def test_a_busy_server_is_asked_again_after_a_while(visit: Visit) -> None:
    page = visit(foreseen=REFUSED)
    sent = refuse(page, times=1)
    page.set_input_files("#files", [upload("red.png", png(COLORS["red"]))])
    page.get_by_role("status").get_by_text("The server is busy; trying again in 2 s.").wait_for()
    page.locator("#strip label").wait_for()
    assert verdict(page) == "red"
    assert len(sent) == 2
    assert page.locator(".problem").count() == 0


def test_a_server_that_stays_busy_is_asked_five_times_and_then_by_hand(visit: Visit) -> None:
    page = visit(foreseen=REFUSED, script=QUICKLY)
    sent = refuse(page, times=5)
    page.set_input_files("#files", [upload("red.png", png(COLORS["red"]))])
    again = page.get_by_role("button", name="Try again")
    again.wait_for()
    assert len(sent) == 5
    assert "The server is full; come back in a second." in page.locator(".problem").inner_text()
    again.click()
    page.locator("#strip label").wait_for()
    assert verdict(page) == "red"
    assert page.locator(".problem").count() == 0


def test_a_proxy_that_answers_in_html_is_put_into_words(visit: Visit) -> None:
    page = visit(foreseen=REFUSED)
    for status, words in ((413, "The image is larger"), (502, "The server answered with code 502")):
        page.route("**/predict*", answering(status, "<h1>nginx</h1>"))
        page.set_input_files("#files", [upload("red.png", png(COLORS["red"]))])
        page.get_by_role("alert").get_by_text(words).wait_for()
        page.unroute("**/predict*")


def test_a_server_that_has_gone(visit: Visit, tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        page = visit(address, foreseen="ERR_CONNECTION_REFUSED")
        choose(page, "green")
    page.set_input_files("#files", [upload("red.png", png(COLORS["red"]))])
    page.get_by_role("alert").get_by_text("The server does not answer.").wait_for()
    assert verdict(page) == "green"


def test_a_connection_that_comes_back(visit: Visit) -> None:
    page = visit(foreseen="ERR_INTERNET_DISCONNECTED")
    page.context.set_offline(True)
    page.set_input_files("#files", [upload("red.png", png(COLORS["red"]))])
    page.get_by_role("alert").get_by_text("The server does not answer.").wait_for()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    page.locator("#strip label").wait_for()
    assert verdict(page) == "red"


def test_a_page_that_cannot_learn_its_model_tries_again(open_page: Any, service: str) -> None:
    page = open_page("about:blank", foreseen="")
    page.route("**/model", answering(500, ""))
    page.goto(service)
    again = page.get_by_role("button", name="Try again")
    again.wait_for()
    page.unroute("**/model")
    again.click()
    page.locator("#model").wait_for()
    assert page.locator("#name").inner_text() == "colors"


def answering(status: int, body: str) -> Any:
    """Returns what answers a request in the place of the server."""
    return lambda route: route.fulfill(status=status, body=body)


def refuse(page: Any, times: int) -> list[str]:
    """Lets the first requests meet a full server, the later ones the real one; returns a list that grows."""
    sent: list[str] = []

    def answer(route: Any) -> None:
        sent.append(route.request.url)
        if len(sent) <= times:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json=BUSY)
        else:
            route.continue_()

    page.route("**/predict*", answer)
    return sent
