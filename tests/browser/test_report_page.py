"""The report as a reader meets it: in a browser, by pointer, finger, keyboard, screen reader and on paper."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from made_run import make_run
from pictorch.reporting import render_report

pytestmark = pytest.mark.slow

NAMES = (
    "cat",
    "<b>dog</b>",
    "白鹭",
    "קיפוד מצוי",
    "Ursus arctos horribilis, the one with a very long name that no column has room for",
    "नीलगाय",
    "frog 10",
    "frog 9",
)
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("runs"), class_names=NAMES, overrides=("augment.flip=random",))
    return render_report(run)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_axe_violation(
    report: Path, open_page: Callable[..., Any], axe_violations: Any, scheme: str, width: int
) -> None:
    page = open_page(report, width=width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
    assert axe_violations(page) == []


def test_axe_is_able_to_find_something(open_page: Callable[..., Any], axe_violations: Any) -> None:
    page = open_page("about:blank")
    page.set_content("<p style='color:#eee;background:#fff'>hardly there</p><img src='data:,'>")
    found = " ".join(axe_violations(page))
    assert "color-contrast" in found
    assert "image-alt" in found


@pytest.mark.parametrize("width", [*WIDTHS, 320])
def test_the_page_never_scrolls_sideways(report: Path, open_page: Callable[..., Any], width: int) -> None:
    page = open_page(report, width=width)
    page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_label("most confused first").first.check()
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_only_the_file_itself_is_read(report: Path, open_page: Callable[..., Any], browser: Any) -> None:
    page = open_page(report)
    loaded = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []


def test_the_pointer_shows_values(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    assert not page.locator("#tip").is_visible()
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.68, box["y"] + box["height"] / 2)
    told = page.locator("#tip").inner_text()
    assert re.match(r"epoch 2\b", told)
    assert "0.6789" in told
    page.mouse.move(0, 0)
    assert not page.locator("#tip").is_visible()


def test_a_finger_shows_values(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report, width=390, has_touch=True)
    page.locator(".plot").nth(1).tap()
    told = page.locator("#tip").inner_text()
    assert "validation" in told
    assert "%" in told


def test_the_arrow_keys_walk_along_a_curve(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    plot = page.get_by_role("slider", name="Accuracy, values")
    plot.focus()
    page.keyboard.press("End")
    assert plot.get_attribute("aria-valuetext") == "epoch 3: training 80 %, validation 75 %"
    page.keyboard.press("ArrowLeft")
    assert plot.get_attribute("aria-valuetext") == "epoch 2: training 70 %, validation 65 %"
    assert "65 %" in page.locator("#tip").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()


def test_a_table_is_sorted_by_keyboard(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    table = page.locator("#classes table").first
    recall = table.get_by_role("columnheader", name="recall", exact=True)

    def column() -> list[float]:
        return [float(text) for text in table.locator("tbody td:nth-child(4)").all_inner_texts()]

    recall.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert recall.get_attribute("aria-sort") == "descending"
    assert column() == sorted(column(), reverse=True)
    page.keyboard.press("Space")
    assert recall.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(column())
    assert len(set(column())) > 2
    table.get_by_role("columnheader", name="class").get_by_role("button").press("Enter")
    names = table.locator("tbody th").all_inner_texts()
    assert names.index("frog 9") + 1 == names.index("frog 10")


def test_the_matrix_is_ordered_by_keyboard_rows_and_columns_alike(
    report: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(report)
    view = page.locator(".matrix-view").first

    def cells() -> dict[tuple[str, str], str]:
        columns = view.locator("thead th bdi").all_inner_texts()
        rows = view.locator("tbody tr").all()
        return {
            (row.locator("th").inner_text(), column): text
            for row in rows
            for column, text in zip(columns, row.locator("td").all_inner_texts(), strict=True)
        }

    before = cells()
    view.get_by_label("as stored").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert view.get_by_label("most confused first").is_checked()
    after = cells()
    assert after == before
    names = list(dict.fromkeys(row for row, _ in after))
    assert names == list(dict.fromkeys(column for _, column in after))
    assert names != list(NAMES)

    def recall(name: str) -> float:
        counts = {column: int(n) for (row, column), n in after.items() if row == name and n.isdecimal()}
        return counts.get(name, 0) / sum(counts.values())

    assert [recall(name) for name in names] == sorted(recall(name) for name in names)


def test_the_pointer_reads_the_matrix(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    view = page.locator(".matrix-view").first
    view.get_by_label("best found first").check()
    row = view.locator("tbody tr").nth(1)
    name, counts = (
        row.locator("th").inner_text(),
        [int("0" + text.strip("·")) for text in row.locator("td").all_inner_texts()],
    )
    row.locator("td").nth(1).hover()
    share = 100 * counts[1] / sum(counts)
    said = view.locator(".said").inner_text().replace("\u2068", "").replace("\u2069", "")
    assert said == f"{name} called {name}: {counts[1]} of {sum(counts)}, {share:.1f} %"


def test_the_matrix_shows_counts_or_shares(report: Path, open_page: Callable[..., Any]) -> None:
    for script in (True, False):
        page = open_page(report, java_script_enabled=script)
        row = page.locator(".matrix-view").first.locator("tbody tr").first.locator("td")
        counts = [int(text) for text in row.all_inner_texts() if text != "·"]
        page.get_by_label("shares of the row, %").first.check()
        shares = [float(text) for text in row.all_inner_texts() if text != "·"]
        assert shares == pytest.approx([100 * count / sum(counts) for count in counts], abs=0.51)


def test_without_its_script_everything_is_there(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report, java_script_enabled=False)
    assert page.locator(".big .value").first.is_visible()
    assert page.locator("svg").first.is_visible()
    assert page.locator("#epochs table").is_visible()
    assert not page.locator("#theme").is_visible()
    assert not page.get_by_label("by name").first.is_visible()


def test_names_in_other_scripts_have_real_glyphs(
    report: Path, open_page: Callable[..., Any], chinese_font: None
) -> None:
    page = open_page(report)
    session = page.context.new_cdp_session(page)
    for call in ("DOM.enable", "CSS.enable"):
        session.send(call)
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    query = {"nodeId": root, "selector": f"#classes tbody tr:nth-child({NAMES.index('白鹭') + 1}) bdi"}
    node = session.send("DOM.querySelector", query)["nodeId"]
    fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
    assert sum(font["glyphCount"] for font in fonts) == 2
    assert all("CJK" in font["familyName"] or "Hei" in font["familyName"] for font in fonts), fonts


def test_light_and_dark_by_system_and_by_button(report: Path, open_page: Callable[..., Any]) -> None:
    def paper(page: Any) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light, dark = (open_page(report, color_scheme=scheme) for scheme in ("light", "dark"))
    papers = paper(light), paper(dark)
    assert papers[0] != papers[1]
    light.get_by_role("button", name="Dark").click()
    assert paper(light) == papers[1]
    light.get_by_role("button", name="Light").click()
    assert paper(light) == papers[0]


def test_the_first_tab_leads_past_the_top(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "result"


def test_it_prints(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report, color_scheme="dark", width=718)  # A4 between its margins
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == 718
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.evaluate(
        "[...document.querySelectorAll('.box')].every((b) => b.scrollHeight <= b.clientHeight)"
    )
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert 4 < printed.count(b"/Type /Page\n") < 30
