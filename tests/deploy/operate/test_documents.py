"""The scripts that tests/deploy_heavy follows can be made of the pages as they stand, and no block is forgotten."""

from __future__ import annotations

import subprocess

import pytest

from tests.deploy_heavy.pages import PAGES
from tests.helpers.deploy.documents import OPERATE, Page

# Page -> why not here.
ELSEWHERE = {"containers.md": "tests/deploy/test_containers_guide.py follows it"}
HERE = [path for path in sorted(OPERATE.glob("*.md")) if path.name not in ELSEWHERE]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_a_script(page):
    script = page.make_script(project="project", backups="backups")
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.name)
def test_every_block_is_followed_or_named_with_a_reason(path):
    seen = [block for page in PAGES if page.path == path for block in page.read_blocks()]
    assert set(Page(path).read_blocks()) == set(seen)


def test_what_a_page_no_longer_says_is_noticed(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("```bash\napt-get install git\n```\n\n## Then\n\n```bash\necho second\n```\n\n## More\n")
    assert Page(path, typed={"git": "hg"}, left_out={"echo": "why"}).make_script() == (
        "set -euxo pipefail\napt-get install hg\n"
    )
    assert Page(path, "Then", typed={"second": "{word}"}).make_script(word="2") == "set -euxo pipefail\necho 2\n"
    for changed in ({"typed": {"svn": "git"}}, {"left_out": {"make": "why"}}, {"heading": "Later"}):
        with pytest.raises(AssertionError, match=r"svn|make|Later"):
            Page(path, **changed).make_script()
