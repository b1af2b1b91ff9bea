"""Links lead somewhere."""

from __future__ import annotations

from urllib.parse import unquote

from docs.pages import PAGES, ROOT, anchors, links, of_pages


def test_every_link_within_the_repository_leads_to_a_file_and_a_heading() -> None:
    wrong = []
    for link in of_pages(links):
        path, _, fragment = link.text.partition("#")
        target = (link.page.parent / unquote(path)).resolve() if path else link.page
        if not target.exists() or ROOT not in (target, *target.parents):
            wrong.append(f"{link}: there is no such file")
        elif fragment and target.suffix == ".md" and fragment not in anchors(target):
            wrong.append(f"{link}: {target.name} has no such heading")
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_page_is_linked_from_another() -> None:
    led_to = {
        (link.page.parent / link.text.partition("#")[0]).resolve()
        for link in of_pages(links)
        if link.text.partition("#")[0]
    }
    # The folder of runbooks is linked as a whole, and each of them by its alert.
    lost = [
        page for page in PAGES if page not in led_to and page.parent.name != "runbooks" and page.name != "README.md"
    ]
    assert not lost, [str(page.relative_to(ROOT)) for page in lost]
