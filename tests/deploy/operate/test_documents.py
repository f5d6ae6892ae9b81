"""The scripts that tests/deploy_heavy/test_documents.py follows can be made of the pages as they stand."""

from __future__ import annotations

import subprocess

import pytest

from tests.deploy_heavy.test_documents import PAGES
from tests.helpers.deploy.documents import make_script
from tests.helpers.paths import ROOT


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_a_script(name):
    substitutions, left_out = PAGES[name]
    script = make_script(ROOT / "docs" / "operate" / name, substitutions, left_out)
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_page_no_longer_says_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```bash\napt-get install git\n```\n\n```bash\necho second\n```\n")
    assert make_script(page, {"git": "hg"}, {"echo": "why"}) == "set -euxo pipefail\napt-get install hg\n"
    for substitutions, left_out in (({"svn": "git"}, {}), ({}, {"make": "why"})):
        with pytest.raises(AssertionError, match=r"svn|make"):
            make_script(page, substitutions, left_out)
