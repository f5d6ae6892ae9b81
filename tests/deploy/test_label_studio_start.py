"""deploy/label-studio/start.sh gives Label Studio its secrets, and says what is wrong with them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "label-studio" / "start.sh"


def start(*command, **environment):
    """What a command sees that is started by the script."""
    return subprocess.run(
        ["/bin/sh", SCRIPT, *(command or ["env"])],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def read_environment(**environment):
    result = start(**environment)
    assert (result.returncode, result.stderr) == (0, "")
    return dict(line.split("=", 1) for line in result.stdout.splitlines())


def refuse(**environment):
    result = start(**environment)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret"
    file.write_text('it\'s a "$secret" `with` \\ all\n')
    return file


@pytest.mark.parametrize("name", ["LABEL_STUDIO_PASSWORD", "POSTGRE_PASSWORD", "SECRET_KEY"])
def test_a_secret_is_read_as_it_is_written(secret, name):
    given = read_environment(**{f"{name}_FILE": str(secret)})
    assert given[name] == 'it\'s a "$secret" `with` \\ all'


def test_the_operator_s_own_value_wins(secret):
    given = read_environment(LABEL_STUDIO_PASSWORD_FILE=str(secret), LABEL_STUDIO_PASSWORD="own")
    assert given["LABEL_STUDIO_PASSWORD"] == "own"


def test_what_nobody_asks_for_is_not_there():
    assert not {"LABEL_STUDIO_PASSWORD", "POSTGRE_PASSWORD", "SECRET_KEY", "CSRF_TRUSTED_ORIGINS"} & set(
        read_environment()
    )


def test_a_missing_or_empty_file_is_named_with_the_remedy(tmp_path):
    file = tmp_path / "password"
    assert refuse(LABEL_STUDIO_PASSWORD_FILE=str(file)) == (
        f"label-studio/start.sh: {file} cannot be read: run deploy/make_secrets.sh, which makes it and lets containers "
        "read it"
    )
    file.touch()
    problem = f"label-studio/start.sh: {file} is empty: run deploy/make_secrets.sh"
    assert refuse(LABEL_STUDIO_PASSWORD_FILE=str(file)) == problem


def test_a_key_that_label_studio_would_misread_is_refused(tmp_path):
    """As the name of a variable: tokens would not be taken after a restart."""
    file = tmp_path / "key"
    file.write_text("$ecret")
    assert "SECRET_KEY begins with $" in refuse(SECRET_KEY_FILE=str(file))
    assert "SECRET_KEY begins with $" in refuse(SECRET_KEY="$ecret")


@pytest.mark.parametrize("address", ["https://labels.example.com:8443", "https://labels.example.com:8443/studio/"])
def test_behind_tls_it_knows_where_forms_come_from_and_keeps_cookies_to_tls(address):
    given = read_environment(LABEL_STUDIO_HOST=address)
    assert given["CSRF_TRUSTED_ORIGINS"] == "https://labels.example.com:8443"
    assert given["SESSION_COOKIE_SECURE"] == "1"
    own = read_environment(LABEL_STUDIO_HOST=address, CSRF_TRUSTED_ORIGINS="https://a", SESSION_COOKIE_SECURE="0")
    assert (own["CSRF_TRUSTED_ORIGINS"], own["SESSION_COOKIE_SECURE"]) == ("https://a", "0")


def test_without_tls_cookies_stay_as_they_are():
    assert "SESSION_COOKIE_SECURE" not in read_environment(LABEL_STUDIO_HOST="http://localhost:8080")


def test_the_command_takes_the_script_s_place_with_its_words_and_status():
    result = start("sh", "-c", 'printf "%s\\n" "$@"; exit 7', "sh", "two words", "*")
    assert (result.returncode, result.stdout) == (7, "two words\n*\n")
