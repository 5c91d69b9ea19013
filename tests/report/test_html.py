"""report.html: all of report.md in one file, and nothing from elsewhere."""

import base64
from html.parser import HTMLParser

import pytest

from kdjax.report import html
from tests.report.test_document import fabricate, write_report


class Page(HTMLParser):
    """What a page has: its tags with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, undrawn):
    folder = fabricate(tmp_path_factory.mktemp("run"), seeds=(0,), synthetic=True)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def written(workdir):
    return Page((workdir / "report.html").read_text())


def test_it_has_every_part_of_the_report(workdir, written):
    text = (workdir / "report.md").read_text()
    images = text.count("![")
    assert len(written.all("img")) == images > 3
    assert len(written.all("table")) == text.count("\n|---|") > 1
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(written.all("tr")) == len(rows)
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert len(written.all("h2")) == len(headings)
    for words in (*headings, "Synthetic data", "label_smoothing", "jax 0.10.2"):
        assert words in written.text


def test_it_needs_nothing_else(written):
    for _, attributes in written.tags:
        source = attributes.get("src", "data:image/png;base64,")
        assert source.startswith("data:image/png;base64,")
        assert attributes.get("href", "#").startswith("#")
    assert not {"script", "link", "iframe", "object"} & {t for t, _ in written.tags}
    anchors = {a["href"][1:] for a in written.all("a")}
    assert anchors == {h["id"] for h in written.all("h2")}


def test_it_is_titled_and_its_pictures_are_said(written):
    assert written.all("html") == [{"lang": "en"}]
    assert "UCI HAR (rebuilt)" in written.text
    assert written.all("title")
    alts = [image["alt"] for image in written.all("img")]
    assert all(len(alt) > 20 for alt in alts)
    assert len(set(alts)) == len(alts)


def test_a_picture_is_inside_as_it_is(tmp_path):
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1105).to_bytes(4)
    (tmp_path / "a.png").write_bytes(header)
    (image,) = Page(html.page("# x\n\n![what `b` is](a.png)", tmp_path)).all("img")
    assert base64.b64decode(image["src"].partition(",")[2]) == header
    assert image["style"] == "--pixels: 1105px"
    assert image["alt"] == "what b is"


@pytest.mark.parametrize(
    "text",
    [
        "![words](https://example.com/a.png)",
        "![words](../outside.png)",
        "![words](file:///etc/passwd)",
        "![words](absent.png)",
        "[words](https://example.com)",
        "<https://example.com/words>",
        "<img src=https://example.com/a.png> words",
        "<script>words</script>",
    ],
)
def test_a_name_of_the_data_reaches_nothing(tmp_path, text):
    (tmp_path / "outside.png").write_bytes(b"no")
    (tmp_path / "run").mkdir()
    found = Page(html.page(f"# {text}\n\n- {text}", tmp_path / "run"))
    assert "words" in found.text
    assert not {"script", "img", "a"} & {tag for tag, _ in found.tags}
