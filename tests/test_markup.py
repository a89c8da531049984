"""HTML that cannot be broken by the values in it."""

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch.markup import element, group, table, text


class Reader(HTMLParser):
    """Keeps the tags, attribute values and text of a fragment."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.values: list[str | None] = []
        self.texts = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts += data


printable = st.text(st.characters(exclude_categories=("Cc", "Cs"))) | st.sampled_from(
    ["</td>", '"><script>', "&amp;", "<!--", "' onload='x", "]]>", "白鹭\n<b>"]
)


@given(printable)
@settings(deadline=None)
def test_any_text_comes_back_as_it_was(value: str) -> None:
    reader = Reader(element("p", value, title=value))
    assert reader.tags == ["p"]
    assert reader.texts == value
    assert reader.values == [value]


@given(st.text(st.sampled_from([chr(code) for code in (*range(32), *range(127, 160))]), min_size=1))
@settings(deadline=None)
def test_control_characters_become_replacements(value: str) -> None:
    assert set(text(value)) <= {"\t", "\n", "\N{REPLACEMENT CHARACTER}"}


def test_elements_nest_and_leave_out_what_is_none() -> None:
    inner = element("b", 3, class_=None, data_size=4)
    assert inner == '<b data-size="4">3</b>'
    assert element("p", inner, None, " & ") == f"<p>{inner} &amp; </p>"
    assert element("img", src="x") == '<img src="x">'
    assert group(inner, "<") == f"{inner}&lt;"


def test_table_rows_have_headers_and_their_numbers_are_marked() -> None:
    html = table("T", ["class", "n"], [["a", 1]], numeric=(1,), foot=["all", 1])
    reader = Reader(html)
    assert reader.tags == [
        "div",
        "table",
        "thead",
        "tr",
        "th",
        "th",
        "tbody",
        "tr",
        "th",
        "td",
        "tfoot",
        "tr",
        "th",
        "td",
    ]
    assert '<th scope="row">a</th><td class="number">1</td>' in html
