"""The camera of the page, with the device that Chromium pretends to have."""

from typing import Any

import pytest

from served_page import COLORS, Visit, choose, png, upload, verdict

pytestmark = pytest.mark.slow

NO_HTTPS = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined })"


def opened(visit: Visit) -> Any:
    page = visit(permissions=["camera"])
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take a picture").wait_for()
    return page


def test_a_picture_is_taken_and_answered(visit: Visit) -> None:
    page = opened(visit)
    assert page.evaluate("document.activeElement.id") == "take"
    assert page.locator("#video").evaluate("(video) => video.videoWidth > 100 && !video.paused")
    video, frame = (page.locator(one).bounding_box() for one in ("#video", "#original .frame"))
    ratio = page.locator("#video").evaluate("(video) => video.videoWidth / video.videoHeight")
    assert video["width"] / video["height"] == pytest.approx(ratio, rel=0.01)
    assert max(video["width"], video["height"]) == pytest.approx(frame["width"], abs=1)
    for number in (1, 2):
        page.get_by_role("button", name="Take a picture").click()
        page.locator("#strip label").nth(number - 1).wait_for()
    assert verdict(page) in ("red", "green", "blue", "Not sure")
    assert page.locator("#video").is_visible()
    assert not page.locator("#photo").is_visible()
    assert page.locator("#original-name").inner_text() == "The camera"
    page.get_by_role("button", name="Close the camera").click()
    assert not page.locator("#video").is_visible()
    assert page.locator("#photo").evaluate("(photo) => photo.naturalWidth > 100")
    assert page.evaluate("document.activeElement.id") == "open-camera"


def test_it_answers_all_the_time_and_keeps_none_of_it(visit: Visit) -> None:
    page = opened(visit)
    answered: list[str] = []
    page.on("response", lambda response: answered.append(response.url))
    page.get_by_label("Answer all the time").check()
    page.locator("#verdict .value").wait_for()
    page.wait_for_timeout(1200)
    assert len([url for url in answered if "/predict" in url]) >= 2
    assert page.locator("#strip label").count() == 0
    page.get_by_label("Answer all the time").uncheck()
    page.wait_for_timeout(300)
    before = len(answered)
    page.wait_for_timeout(600)
    assert len(answered) == before


def test_escape_closes_it_and_so_does_another_image(visit: Visit) -> None:
    page = opened(visit)
    page.evaluate("window.track = document.getElementById('video').srcObject.getTracks()[0]")
    page.keyboard.press("Escape")
    assert page.evaluate("window.track.readyState") == "ended"
    assert page.locator("#invitation").is_visible()
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take a picture").wait_for()
    choose(page, "red")
    assert not page.locator("#video").is_visible()
    assert verdict(page) == "red"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("NotAllowedError", "The camera was refused. Allow it for this page"),
        ("NotFoundError", "No camera was found."),
        ("NotReadableError", "The camera is used by another program."),
        ("AbortError", "The camera does not start (AbortError)."),
    ],
)
def test_each_refusal_has_its_sentence(visit: Visit, reason: str, words: str) -> None:
    refuse = (
        f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{reason}'); }}"
    )
    page = visit(script=refuse)
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("alert").get_by_text(words).wait_for()
    assert page.get_by_role("button", name="Use the camera").is_visible()


def test_a_browser_that_was_not_allowed_refuses(visit: Visit) -> None:
    page = visit()
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("alert").get_by_text("The camera was refused.").wait_for()


def test_without_https_a_phone_opens_its_own_camera(visit: Visit) -> None:
    page = visit(width=390, has_touch=True, is_mobile=True, script=NO_HTTPS)
    with page.expect_file_chooser() as chooser:
        page.wait_for_timeout(100)  # until the browser has been told to hand it over
        page.get_by_role("button", name="Use the camera").tap()
    assert chooser.value.element.get_attribute("capture") == "environment"
    chooser.value.set_files([upload("photo.png", png(COLORS["blue"]))])
    page.locator("#strip label").wait_for()
    assert verdict(page) == "blue"


def test_without_https_the_way_around_is_told(visit: Visit) -> None:
    page = visit(script=NO_HTTPS)
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("alert").get_by_text("Browsers give the camera to https pages").wait_for()
