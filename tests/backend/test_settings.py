from __future__ import annotations

import logging
from pathlib import Path

import pytest

from backend.settings import Settings, load_settings, render_settings_table
from m2n2_engine.config import EngineConfig, WeightsConfig
from m2n2_engine.errors import ConfigurationError


def test_defaults_are_those_of_the_engine_but_for_disk_and_preset():
    weights = WeightsConfig(cache_folder=Path("~/.cache/m2n2").expanduser())
    expected = EngineConfig(weights=weights, disk_cache_bytes=4 * 1024**3, preset="auto")
    assert load_settings({}).engine_config() == expected


def test_every_engine_setting_arrives_in_its_unit(tmp_path):
    config = load_settings(
        {
            "M2N2_BACKBONE": "dinov2",
            "M2N2_DEVICE": "cuda:1",
            "M2N2_GRID": "32",
            "M2N2_MODEL_ID": "team/mirror",
            "M2N2_MODEL_REVISION": "main",
            "M2N2_WEIGHTS_FOLDER": str(tmp_path),
            "M2N2_CACHE_FOLDER": "/var/cache/m2n2",
            "M2N2_BUNDLED_FOLDER": "/opt/m2n2/bundled",
            "M2N2_OFFLINE": "true",
            "M2N2_SESSION_CACHE_MIB": "3",
            "M2N2_HOST_CACHE_MIB": "0",
            "M2N2_DISK_CACHE_MIB": "5",
            "M2N2_DISK_CACHE_FOLDER": "~/attention",
            "M2N2_THREADS": "2",
            "M2N2_PRESET": "paper",
            "M2N2_WORKING_SIZE_PIXELS": "0",
            "M2N2_CLICK_AREA_LIMIT_PERCENT": "55",
            "M2N2_ZOOM": "false",
        }
    ).engine_config()
    assert config.weights == WeightsConfig(
        Path("/var/cache/m2n2"),
        tmp_path.resolve(),
        "team/mirror",
        "main",
        offline=True,
        bundled_folder=Path("/opt/m2n2/bundled"),
    )
    assert (config.backbone, config.device, config.grid, config.threads) == ("dinov2", "cuda:1", 32, 2)
    assert config.session_cache_bytes == 3 * 1024 * 1024
    assert (config.host_cache_bytes, config.disk_cache_bytes) == (0, 5 * 1024 * 1024)
    assert config.disk_cache_folder == Path.home() / "attention"
    assert config.preset == "paper"
    assert config.changes == {"working_size_pixels": 0, "click_area_limit": pytest.approx(0.55), "zoom_largest": 0}


def test_the_environment_of_the_process_is_the_default(monkeypatch):
    monkeypatch.setenv("M2N2_PORT", "1234")
    assert load_settings().port == 1234


def test_empty_and_blank_values_mean_unset():
    assert load_settings({"M2N2_PORT": "", "M2N2_GRID": "  ", "LABEL_STUDIO_URL": ""}) == load_settings({})


def test_values_are_normalised():
    settings = load_settings({"M2N2_LOG_LEVEL": "debug", "LABEL_STUDIO_URL": "https://labels.example.com/ls/"})
    assert settings.log_level == "DEBUG"
    assert settings.label_studio_url == "https://labels.example.com/ls"


def test_hosts_are_split_at_commas():
    hosts = load_settings({"M2N2_ALLOWED_IMAGE_HOSTS": "A.example.com, *.example.org:8080,,[::1]:9000,*"})
    assert hosts.allowed_image_hosts == ("a.example.com", "*.example.org:8080", "[::1]:9000", "*")
    assert hosts.private_image_hosts == ()


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).port = 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("M2N2_DEVICE", "gpu"),
        ("M2N2_GRID", "4"),
        ("M2N2_GRID", "129"),
        ("M2N2_WEIGHTS_FOLDER", "/no/such/folder"),
        ("M2N2_OFFLINE", "perhaps"),
        ("M2N2_SESSION_CACHE_MIB", "0"),
        ("M2N2_HOST_CACHE_MIB", "-1"),
        ("M2N2_DISK_CACHE_MIB", "-1"),
        ("M2N2_THREADS", "0"),
        ("M2N2_PRESET", "best"),
        ("M2N2_WORKING_SIZE_PIXELS", "63"),
        ("M2N2_WORKING_SIZE_PIXELS", "-1"),
        ("M2N2_CLICK_AREA_LIMIT_PERCENT", "101"),
        ("M2N2_PORT", "99999"),
        ("M2N2_PORT", "http"),
        ("M2N2_CVAT_PORT", "0"),
        ("M2N2_CVAT_PORT", "9090"),
        ("M2N2_CVAT_ANSWER", "polygons"),
        ("M2N2_SERVER_THREADS", "1"),
        ("M2N2_MAX_BODY_MIB", "0"),
        ("M2N2_MAX_IMAGE_MIB", "1e9"),
        ("M2N2_MAX_IMAGE_MEGAPIXELS", "179"),
        ("M2N2_FETCH_TIMEOUT_SECONDS", "nan"),
        ("M2N2_CONNECT_TIMEOUT_SECONDS", "0"),
        ("M2N2_READ_TIMEOUT_SECONDS", "91"),
        ("M2N2_IMAGE_CACHE_MIB", "-1"),
        ("M2N2_IMAGE_RECHECK_SECONDS", "-1"),
        ("M2N2_ALLOWED_IMAGE_HOSTS", "http://images.example.com"),
        ("M2N2_ALLOWED_IMAGE_HOSTS", "images.example.com/photos"),
        ("M2N2_ALLOWED_IMAGE_HOSTS", "images.example.com:0"),
        ("M2N2_ALLOWED_IMAGE_HOSTS", "images.example.com:99999"),
        ("M2N2_ALLOWED_IMAGE_HOSTS", "[::"),
        ("M2N2_ALLOWED_IMAGE_HOSTS", "user@images.example.com"),
        ("M2N2_PRIVATE_IMAGE_HOSTS", "*"),
        ("M2N2_PRIVATE_IMAGE_HOSTS", "minio.example.com,*:9000"),
        ("M2N2_LOCAL_FILES_ROOT", "/"),
        ("M2N2_LOCAL_FILES_ROOT", "/no/such/folder"),
        ("M2N2_LOG_LEVEL", "loud"),
        ("M2N2_LOG_FORMAT", "xml"),
        ("M2N2_COMPUTING_CLICKS", "0"),
        ("M2N2_PROPOSE", "sometimes"),
        ("M2N2_PROPOSE_EXAMPLES", "0"),
        ("M2N2_PROPOSE_SCORE", "1.5"),
        ("M2N2_PROPOSE_WAIT_SECONDS", "61"),
        ("M2N2_BASIC_AUTH_USER", "a:b"),
        ("LABEL_STUDIO_URL", "labels.example.com"),
        ("LABEL_STUDIO_URL", "ftp://labels.example.com"),
        ("LABEL_STUDIO_URL", "http://user:secret@labels.example.com"),
        ("LABEL_STUDIO_URL", "http://labels.example.com:0"),
        ("LABEL_STUDIO_URL", "http://labels.example.com/?next=x"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(variable, value):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({variable: value})
    message = str(caught.value)
    assert message.startswith(f"{variable}={value!r} cannot be used: ")
    assert message.endswith("; correct it or unset it")
    assert "\n" not in message
    assert "pydantic" not in message


def test_all_wrong_values_are_named():
    with pytest.raises(ConfigurationError, match=r"M2N2_GRID='x'.*; M2N2_PORT='y'"):
        load_settings({"M2N2_PORT": "y", "M2N2_GRID": "x"})


def test_without_a_home_the_cache_folder_must_be_given(monkeypatch):
    monkeypatch.setenv("HOME", "~")  # what Python takes for none
    with pytest.raises(ConfigurationError, match="M2N2_CACHE_FOLDER cannot be used: should be a full path"):
        load_settings({})


def test_the_key_is_never_shown():
    assert "tell-nobody" not in repr(load_settings({"LABEL_STUDIO_API_KEY": "tell-nobody"}))
    with pytest.raises(ConfigurationError, match=r"^LABEL_STUDIO_API_KEY cannot be used") as caught:
        load_settings({"LABEL_STUDIO_API_KEY": "tell-nobody\nX-Header: 1"})
    assert "tell-nobody" not in str(caught.value)


def test_a_misspelt_variable_is_named(caplog):
    with caplog.at_level(logging.WARNING):
        load_settings({"M2N2_PROT": "1", "M2N2_SOMETHING_ELSE_ALTOGETHER": "1", "PATH": "/bin", "M2N2_PORT": "1"})
    assert [record.getMessage() for record in caplog.records] == [
        "M2N2_PROT is no setting and has no effect; is it M2N2_PORT?",
        "M2N2_SOMETHING_ELSE_ALTOGETHER is no setting and has no effect",
    ]


def test_the_table_describes_every_setting():
    lines = render_settings_table().splitlines()
    assert len(lines) == 2 + len(Settings.model_fields)
    assert (
        "| `M2N2_CLICK_AREA_LIMIT_PERCENT` | unset | Largest share of the image that one click can claim, in percent; "
        "unset: the preset's own. |" in lines
    )
    assert all("None" not in line for line in lines)
    assert sum("`LABEL_STUDIO_" in line for line in lines) == 3


def test_user_and_password_belong_together():
    pair = {"M2N2_BASIC_AUTH_USER": "studio", "M2N2_BASIC_AUTH_PASSWORD": "tell-nobody"}
    assert "tell-nobody" not in repr(load_settings(pair))
    for name in pair:
        with pytest.raises(
            ConfigurationError, match=r"^M2N2_BASIC_AUTH_PASSWORD cannot be used: should be set"
        ) as caught:
            load_settings({name: pair[name]})
        assert "tell-nobody" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"^M2N2_BASIC_AUTH_PASSWORD cannot be used") as caught:
        load_settings({**pair, "M2N2_BASIC_AUTH_PASSWORD": "tell nobody"})
    assert "tell nobody" not in str(caught.value)


@pytest.mark.parametrize(("threads", "places"), [(2, 1), (8, 7), (16, 14), (32, 28), (256, 224)])
def test_threads_are_kept_from_predictions(threads, places):
    assert load_settings({"M2N2_SERVER_THREADS": str(threads)}).prediction_places == places


def test_secrets_come_from_files_too(tmp_path):
    token, password = tmp_path / "token", tmp_path / "password"
    token.write_text("tell-nobody\n")
    password.write_text("tell-no-one")
    settings = load_settings(
        {
            "LABEL_STUDIO_API_KEY_FILE": str(token),
            "M2N2_BASIC_AUTH_USER": "studio",
            "M2N2_BASIC_AUTH_PASSWORD_FILE": str(password),
        }
    )
    assert settings.label_studio_api_key is not None
    assert settings.label_studio_api_key.get_secret_value() == "tell-nobody"
    assert settings.basic_auth_password is not None
    assert settings.basic_auth_password.get_secret_value() == "tell-no-one"
    assert "tell-no" not in repr(settings)


def test_an_empty_secret_file_means_unset(tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("\n")
    files = {"LABEL_STUDIO_API_KEY_FILE": str(empty), "M2N2_BASIC_AUTH_PASSWORD_FILE": str(empty)}
    settings = load_settings(files)
    assert (settings.label_studio_api_key, settings.basic_auth_password) == (None, None)
    with pytest.raises(ConfigurationError, match=r"^M2N2_BASIC_AUTH_PASSWORD cannot be used: should be set"):
        load_settings({**files, "M2N2_BASIC_AUTH_USER": "studio"})


def test_a_secret_is_taken_where_its_file_is_empty(tmp_path):
    """As in compose, which names the file at all times."""
    empty = tmp_path / "empty"
    empty.touch()
    settings = load_settings({"LABEL_STUDIO_API_KEY_FILE": str(empty), "LABEL_STUDIO_API_KEY": "a-token"})
    assert settings.label_studio_api_key.get_secret_value() == "a-token"


@pytest.mark.parametrize(
    ("content", "own", "message"),
    [
        (b"two words", None, "LABEL_STUDIO_API_KEY cannot be used: should be one word"),
        (b"\xff\xfe", None, "LABEL_STUDIO_API_KEY cannot be used: .*/token should be a text file"),
        (b"tell-nobody", "another", "LABEL_STUDIO_API_KEY cannot be used: should not be set where .*/token holds one"),
        (None, None, "LABEL_STUDIO_API_KEY_FILE='.*/token' cannot be used: should be an existing file"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_named(tmp_path, content, own, message):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"^{message}") as caught:
        load_settings({"LABEL_STUDIO_API_KEY_FILE": str(file), "LABEL_STUDIO_API_KEY": own or ""})
    assert not any(secret in str(caught.value) for secret in ("tell-nobody", "two words", "another"))


_STUDIO = {"LABEL_STUDIO_URL": "http://localhost:8080", "LABEL_STUDIO_API_KEY": "0123"}


def test_proposals_need_a_label_studio_its_token_and_the_engine_beside_the_server():
    settings = load_settings({**_STUDIO, "M2N2_PROPOSE": "accepted"})
    assert (settings.propose, settings.propose_examples, settings.propose_score) == ("accepted", 3, 0.3)
    assert load_settings({**_STUDIO, "M2N2_PROPOSE": "off", "M2N2_ENGINE": "ray"}).propose == "off"


@pytest.mark.parametrize(
    ("environ", "remedy"),
    [
        ({}, "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"),
        ({"LABEL_STUDIO_URL": "http://localhost:8080"}, "LABEL_STUDIO_API_KEY"),
        ({**_STUDIO, "M2N2_ENGINE": "ray"}, "M2N2_ENGINE=ray: replicas make no proposals"),
        ({**_STUDIO, "M2N2_PREPARE_AHEAD": "0"}, "M2N2_PREPARE_AHEAD=0"),
    ],
)
def test_proposals_that_cannot_be_made_are_refused_at_the_start(environ, remedy):
    with pytest.raises(ConfigurationError, match=r"^M2N2_PROPOSE='accepted' cannot be used") as caught:
        load_settings({**environ, "M2N2_PROPOSE": "accepted"})
    assert remedy in str(caught.value)
