"""Every setting of the server, in one table. The only file of the product that reads the environment."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from m2n2_engine.config import MEBIBYTE, EngineConfig, MethodConfig, WeightsConfig
from m2n2_engine.errors import ConfigurationError

_PREFIX = "M2N2_"
_SECRET_VARIABLE = "LABEL_STUDIO_API_KEY"
_METHOD = MethodConfig()
_SMALLEST_WORKING_SIZE_PIXELS = 64
# Pillow refuses to open images of more than about 178.9 megapixels.
_LARGEST_IMAGE_MEGAPIXELS = 178

logger = logging.getLogger(__name__)


def _check_working_size(pixels: int) -> int:
    if 0 < pixels < _SMALLEST_WORKING_SIZE_PIXELS:
        raise ValueError(f"should be 0 or at least {_SMALLEST_WORKING_SIZE_PIXELS}")
    return pixels


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    is_web = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    if not is_web or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("should be an address like https://label-studio.example.com, with a path at most")
    return url.rstrip("/")


def _check_key(key: SecretStr) -> SecretStr:
    secret = key.get_secret_value()
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise ValueError("should be one word without spaces or line breaks")
    return key


def _expand_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("should be a full path: there is no home folder here") from None


def _check_folder(folder: Path) -> Path:
    folder = folder.resolve()
    if not folder.is_dir():
        raise ValueError("should be an existing folder")
    return folder


def _check_root(folder: Path) -> Path:
    if folder == Path(folder.anchor):
        raise ValueError("should be a folder below the root of the file system")
    return folder


_HomePath = Annotated[Path, AfterValidator(_expand_home)]
_ExistingFolder = Annotated[_HomePath, AfterValidator(_check_folder)]
_LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)]


class Settings(BaseSettings):
    """The server's settings, checked; made by `load_settings`, each described where it is declared."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, hide_input_in_errors=True)

    backbone: str = Field(
        "auto",
        description="Network that looks at the image: a name that `m2n2 doctor` lists, or `auto`: Stable Diffusion 2 "
        "on CUDA with its weights at hand, else the embedded DINOv2.",
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    grid: int | None = Field(
        None, ge=8, le=128, description="Cells along each side of the attention grid; unset: the backbone's own."
    )
    model_id: str | None = Field(None, description="Hub repository to take instead of the backbone's own.")
    model_revision: str | None = Field(None, description="Branch, tag or commit of that repository.")
    weights_folder: _ExistingFolder | None = Field(
        None, description="Folder with one model, taken instead of anything else."
    )
    cache_folder: _HomePath = Field(
        Path("~/.cache/m2n2"), validate_default=True, description="Fetched weights are kept here."
    )
    offline: bool = Field(False, description="`true`: never open a connection for weights.")
    session_cache_mib: int = Field(
        2048, ge=1, description="MiB for the images that stay resident between clicks; the newest always stays."
    )
    threads: int | None = Field(None, ge=1, description="Threads of the computation; unset: all processors at hand.")
    working_size_pixels: Annotated[int, AfterValidator(_check_working_size)] = Field(
        _METHOD.working_size_pixels,
        ge=0,
        description="Longest side at which masks are computed; larger images are reduced to it. 0: no cap.",
    )
    click_area_limit_percent: float = Field(
        _METHOD.click_area_limit * 100,
        gt=0,
        le=100,
        description="Largest share of the image that one click can claim, in percent.",
    )
    host: str = Field("0.0.0.0", description="Address that the server listens on.")
    port: int = Field(9090, ge=1, le=65535, description="Port that the server listens on.")
    server_threads: int = Field(
        32, ge=2, le=256, description="Requests held at the same time; clicks that wait for the engine are among them."
    )
    max_body_mib: int = Field(64, ge=1, le=4096, description="Largest request body, in MiB.")
    max_image_mib: int = Field(64, ge=1, le=4096, description="Largest image file, in MiB.")
    max_image_megapixels: int = Field(
        100, ge=1, le=_LARGEST_IMAGE_MEGAPIXELS, description="Largest image, in millions of pixels."
    )
    fetch_timeout_seconds: float = Field(20, gt=0, le=90, description="Time to fetch one image, in seconds.")
    local_files_root: Annotated[_ExistingFolder, AfterValidator(_check_root)] | None = Field(
        None,
        description="Label Studio's LOCAL_FILES_DOCUMENT_ROOT as this server sees it: local files are read from "
        "there; unset: fetched from Label Studio.",
    )
    log_level: _LogLevel = Field("INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`.")
    label_studio_url: Annotated[str, AfterValidator(_check_url)] | None = Field(
        None,
        validation_alias="LABEL_STUDIO_URL",
        description="Address of Label Studio as this server reaches it; images are fetched from nowhere else.",
    )
    label_studio_api_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        None,
        validation_alias=_SECRET_VARIABLE,
        description="Personal access token (or legacy token) to fetch images with.",
    )

    def engine_config(self) -> EngineConfig:
        """What the engine needs to be built, in the engine's own units."""
        return EngineConfig(
            weights=WeightsConfig(
                cache_folder=self.cache_folder,
                folder=self.weights_folder,
                model_id=self.model_id,
                revision=self.model_revision,
                offline=self.offline,
            ),
            backbone=self.backbone,
            device=self.device,
            grid=self.grid,
            session_cache_bytes=self.session_cache_mib * MEBIBYTE,
            threads=self.threads,
            method=MethodConfig(
                click_area_limit=self.click_area_limit_percent / 100,
                working_size_pixels=self.working_size_pixels,
            ),
        )


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of an environment, by default of this process; an empty value means unset.

    Names variables with our prefix that no setting has in a warning. Raises ConfigurationError, one line for all
    wrong values: variable, value, remedy.
    """
    environ = os.environ if environ is None else environ
    given = {name.lower(): value.strip() for name, value in environ.items() if value.strip()}
    _warn_of_unknown(environ)
    source = EnvSettingsSource(Settings)
    source.env_vars = given
    try:
        # A documented argument of BaseSettings that its type hides.
        return Settings(_build_sources=((source,), {}))  # type: ignore[call-arg]
    except ValidationError as error:
        problems = (_render_problem(problem["loc"][0], problem["msg"], given) for problem in error.errors())
        raise ConfigurationError("; ".join(problems)) from None


def calm_idle_threads() -> None:
    """Let idle threads of torch's OpenMP sleep instead of spin, unless the environment says otherwise.

    Each request thread brings a team of its own, so there are often more threads than processors; spinning ones then
    hold up those that work: a slow Markov chain was seen to take 15 to 20 times as long. To be called before torch is
    imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def render_settings_table() -> str:
    """The settings as a Markdown table, for the README."""
    lines = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `{_variable(name)}` | {_render_default(name)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _variable(name: str) -> str:
    """The environment variable of a field, given the field's name or its alias."""
    field = Settings.model_fields.get(name)
    if field is None:
        return name
    return str(field.validation_alias or f"{_PREFIX}{name.upper()}")


def _render_default(name: str) -> str:
    match Settings.model_fields[name].default:
        case None:
            return "unset"
        case bool() as default:
            return f"`{str(default).lower()}`"
        case float() as default:
            return f"`{default:g}`"
        case default:
            return f"`{default}`"


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    known = [_variable(name) for name in Settings.model_fields]
    for name in sorted(environ):
        if name.upper().startswith(_PREFIX) and name.upper() not in known:
            similar = difflib.get_close_matches(name.upper(), known, n=1)
            logger.warning("%s is no setting and has no effect%s", name, f"; is it {similar[0]}?" if similar else "")


def _render_problem(location: int | str, message: str, given: Mapping[str, str]) -> str:
    variable = _variable(str(location))
    value = given.get(variable.lower())
    shown = "" if value is None or variable == _SECRET_VARIABLE else f"={value!r}"
    reason = message.removeprefix("Value error, ")
    return f"{variable}{shown} cannot be used: {reason[0].lower()}{reason[1:]}; correct it or unset it"
