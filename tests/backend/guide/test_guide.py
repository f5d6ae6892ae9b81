"""The annotators' guide is served with every picture that it shows."""

from __future__ import annotations

import re


def test_the_guide_is_a_page_whose_pictures_are_there(client):
    response = client.get("/guide")
    assert response.mimetype == "text/html"
    page = response.get_data(as_text=True)
    assert "<h1>Annotating with M2N2 in Label Studio</h1>" in page
    assert '<base href="guide/">' in page
    pictures = re.findall(r'<img src="([^"]+)"', page)
    assert len(pictures) >= 3
    for picture in pictures:
        with client.get(f"/guide/{picture}") as response:
            assert (response.status_code, response.mimetype) == (200, "image/jpeg")
            assert len(response.data) < 150_000


def test_the_guide_lists_why_nothing_happens_as_a_table(client):
    page = client.get("/guide").get_data(as_text=True)
    table = page[page.index("Nothing happens on a click") :]
    table = table[table.index("<table>") : table.index("</table>")]
    assert table.count("<tr>") >= 6
    for cause in ("Auto-Annotation", "Auto-Detect", "no label", "the brush paints"):
        assert cause in table


def test_nothing_else_is_served_from_its_folder(client):
    for path in ("/guide/missing.jpg", "/guide/GUIDE.md", "/guide/..%2f..%2fexamples/astronaut_overlay.jpg"):
        assert client.get(path).status_code == 404
