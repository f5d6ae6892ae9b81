"""Every setting of the server, in one table. The only file of the product that reads the environment."""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict

from m2n2_engine.config import AUTO, MEBIBYTE, EngineConfig, WeightsConfig
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.presets import PRESETS, check_preset

_PREFIX = "M2N2_"
_KEY_VARIABLE = "LABEL_STUDIO_API_KEY"
_SECRET_VARIABLES = frozenset({_KEY_VARIABLE, "M2N2_BASIC_AUTH_PASSWORD"})
_SMALLEST_WORKING_SIZE_PIXELS = 64
# Pillow refuses to open images of more than about 178.9 megapixels.
_LARGEST_IMAGE_MEGAPIXELS = 178
_HOST_PATTERN = re.compile(r"(\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:\d{1,5})?")
# A name, an address of IPv4, or one of IPv6: colons are only in the last.
_LISTENING_PATTERN = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")

logger = logging.getLogger(__name__)


def _check_working_size(pixels: int | None) -> int | None:
    if pixels is not None and 0 < pixels < _SMALLEST_WORKING_SIZE_PIXELS:
        raise ValueError(f"should be 0 or at least {_SMALLEST_WORKING_SIZE_PIXELS}")
    return pixels


def _check_preset(name: str) -> str:
    try:
        return check_preset(name)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    is_web = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    if not is_web or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("should be an address like https://label-studio.example.com, with a path at most")
    return url.rstrip("/")


def _check_listening(host: str) -> str:
    host = host.strip("[]")
    if not _LISTENING_PATTERN.fullmatch(host):
        raise ValueError("should be an address of this machine like 127.0.0.1, without a port")
    return host


def _check_user(user: str) -> str:
    if not (user.isascii() and user.isprintable() and ":" not in user):
        raise ValueError("should be plain ASCII without a colon")
    return user


def _check_key(key: SecretStr) -> SecretStr:
    secret = key.get_secret_value()
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise ValueError("should be one word without spaces or line breaks")
    return key


def _check_peers(peers: tuple[str, ...]) -> tuple[str, ...]:
    for peer in peers:
        if "*" in peer or not peer.rpartition(":")[2].isdecimal():
            raise ValueError(f"{peer} should be a host and a port like m2n2-0.m2n2-peers:9090")
    if len(peers) == 1 or len(set(peers)) < len(peers):
        raise ValueError("should name all servers that share the images, this one among them, each once")
    return peers


def _split_hosts(hosts: str) -> tuple[str, ...]:
    return tuple(host.strip().lower() for host in hosts.split(",") if host.strip())


def _check_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        try:
            is_host = bool(_HOST_PATTERN.fullmatch(host)) and urlsplit(f"//{host}").port != 0
        except ValueError:
            is_host = False
        if not is_host:
            raise ValueError(
                f"{host} should be a host like images.example.com, *.example.com or images.example.com:8080"
            )
    return hosts


def _check_private_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    if any(host.partition(":")[0] == "*" for host in hosts):
        raise ValueError("should name hosts: '*' would open the whole private network")
    return hosts


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


def _check_file(file: Path) -> Path:
    file = file.resolve()
    if not file.is_file():
        raise ValueError("should be an existing file")
    return file


def _check_root(folder: Path) -> Path:
    if folder == Path(folder.anchor):
        raise ValueError("should be a folder below the root of the file system")
    return folder


_HomePath = Annotated[Path, AfterValidator(_expand_home)]
_ExistingFolder = Annotated[_HomePath, AfterValidator(_check_folder)]
_ExistingFile = Annotated[_HomePath, AfterValidator(_check_file)]
_Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_hosts), AfterValidator(_check_hosts)]
_Peers = Annotated[_Hosts, AfterValidator(_check_peers)]

CvatAnswer = Literal["mask", "shapes"]
"""``mask``: a 0 or 1 for each pixel of the frame; ``shapes``: the lengths of its runs, cropped to the object."""

LogFormat = Literal["auto", "terminal", "text", "json"]
_LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)]


class Settings(BaseSettings):
    """The server's settings, checked; made by `load_settings`, each described where it is declared."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, hide_input_in_errors=True)

    engine: Literal["local", "ray"] = Field(
        "local", description="`local`: the engine works in this process; `ray`: on the replicas of a Ray cluster."
    )
    ray_address: str = Field(
        "auto", description="Address of that cluster; `auto`: the one that this machine has joined."
    )
    ray_app: str = Field("m2n2", description="Name of the engine's Serve application there.")
    ray_images: int = Field(
        64,
        ge=1,
        description="Images that a replica keeps decoded; clicks on them are sent to it while it has fewer than 16 "
        "clicks in hand.",
    )
    backbone: str = Field(
        "auto",
        description="Network that looks at the image: a name that `m2n2 doctor` lists, or `auto`: Stable Diffusion 2 "
        "on CUDA with its weights at hand, else the embedded DINOv2.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="`auto`: a GPU of NVIDIA that can be used, else the processor; or `cpu`, `cuda`, `cuda:N`; or "
        "`mps`: the network on Apple's GPU and all else on the processor.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Numbers that DINOv2 multiplies on a processor: `float32`, or `bfloat16`, which is faster if the "
        "processor has instructions for it. `auto`: the faster one, and `float32` for the preset `paper`.",
    )
    preset: Annotated[str, AfterValidator(_check_preset)] = Field(
        AUTO,
        description=f"Constants of the method: {', '.join(f'`{name}`' for name in PRESETS)}, or `auto`: the backbone's "
        "own, see Presets.",
    )
    grid: int | None = Field(
        None, ge=8, le=128, description="Cells along each side of the attention grid; unset: the backbone's own."
    )
    model_id: str | None = Field(None, description="Hub repository to take instead of the backbone's own.")
    model_revision: str | None = Field(None, description="Branch, tag or commit of that repository.")
    weights_folder: _ExistingFolder | None = Field(
        None, description="Folder with one model, taken instead of anything else."
    )
    bundled_folder: _HomePath | None = Field(
        None,
        description="Weights that came with the program are here, and are taken before those of M2N2_CACHE_FOLDER; "
        "the container image sets it.",
    )
    cache_folder: _HomePath = Field(
        Path("~/.cache/m2n2"), validate_default=True, description="Fetched weights are kept here."
    )
    offline: bool = Field(False, description="`true`: never open a connection for weights.")
    session_cache_mib: int | None = Field(
        None,
        ge=1,
        description="MiB for the images that stay resident between clicks; the newest always stays. Unset: 2048, on "
        "CUDA half of the memory that is free once the network is loaded.",
    )
    host_cache_mib: int = Field(
        1024,
        ge=0,
        description="MiB of memory for the network's features of further images, from which they are resident again "
        "without the network; 0 keeps none.",
    )
    disk_cache_mib: int = Field(
        4096,
        ge=0,
        description="MiB on disk for the same, shared by processes and restarts; 0 reads and writes none.",
    )
    disk_cache_folder: _HomePath = Field(
        Path("~/.cache/m2n2/attention"),
        validate_default=True,
        description="Those features are kept here. Guard it like the images themselves.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="Threads of the computation; unset: all processors at hand, no more than the container's quota.",
    )
    working_size_pixels: Annotated[int | None, AfterValidator(_check_working_size)] = Field(
        None,
        ge=0,
        description="Longest side at which masks are computed; larger images are reduced to it, those slimmer than 4:1 "
        "to as many pixels as one of 4:1. 0: no cap; unset: the preset's own.",
    )
    click_area_limit_percent: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Largest share of the image that one click can claim, in percent; unset: the preset's own.",
    )
    zoom: bool = Field(
        True,
        description="`true`: where the preset does so, small objects are looked at again in a crop of the image, which "
        "takes the network a second time; `false`: never.",
    )
    output: Literal["brush", "polygon", "both"] = Field(
        "brush",
        description="Regions that Label Studio gets: `brush`, which is BitmaskLabels where there are no BrushLabels, "
        "`polygon` or `both`; where the labelling configuration has no place for the wanted kind, the other one.",
    )
    polygon_tolerance_pixels: float = Field(
        1.0, ge=0, le=100, description="How far a polygon may be from the mask's outline, in pixels of the image."
    )
    polygon_vertices: int = Field(
        500,
        ge=0,
        le=100_000,
        description="Most vertices of all polygons of a mask together: where there are more, the polygons keep a wider "
        "distance from the outline, and the smallest pieces and holes are left out if need be. 0: no limit.",
    )
    replace_draft_region: bool = Field(
        False,
        description="`true`: accepting a mask replaces the brush region of the same label, in the annotator's "
        "autosaved draft, under the first positive click; `false`: it adds a region.",
    )
    refine_region: bool = Field(
        False,
        description="`true`: if the first click lies in a brush region of the same label in the annotator's autosaved "
        "draft, the clicks correct that region, and accepting the answer replaces it; `false`: clicks find an object "
        "anew.",
    )
    cvat_answer: CvatAnswer = Field(
        "mask",
        description="What CVAT gets: `mask`, every pixel of the frame, which every version takes, or `shapes`, run "
        "lengths, far smaller, which newer ones take.",
    )
    host: Annotated[str, AfterValidator(_check_listening)] = Field(
        "127.0.0.1",
        description="Address that the server listens on. `127.0.0.1`: for programs on this machine alone. `0.0.0.0`: "
        "for containers and other machines too.",
    )
    port: int = Field(9090, ge=1, le=65535, description="Port that the server listens on.")
    cvat_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port for CVAT alone, its CVAT_NUCLIO_PORT: 8070 as a rule. Unset: CVAT is answered below `/cvat/` "
        "only.",
    )
    peers: _Peers = Field(
        (),
        validate_default=False,
        description="All servers that share the images, each as `host:port`, separated by commas, the same at each of "
        "them: a click is passed on to the one that keeps its image. Unset: this server is alone.",
    )
    own_peer: str | None = Field(
        None, description="Which of `M2N2_PEERS` this server is; to be set where they are.", validate_default=True
    )
    playground: Literal["auto", "on", "off"] = Field(
        "auto",
        description="The [page for trying it](playground.md) at `/`: `on`, `off`, or `auto`, which is on where the "
        "server listens on loopback or asks for a password.",
    )
    server_threads: int = Field(
        32,
        ge=2,
        le=256,
        description="Requests held at the same time. An eighth of them, at least one, is kept from predictions, so "
        "that health checks are always answered; a prediction too many is answered 503.",
    )
    computing_clicks: int = Field(
        4, ge=1, le=256, description="Clicks that the engine works on at the same time; the others wait."
    )
    prepare_ahead: int = Field(
        8,
        ge=0,
        le=1000,
        description="Images of opened tasks that may wait to be prepared in the background, while no click is under "
        "way or in a tenth of the time; one too many drops the oldest. 0: images are prepared by their first click.",
    )
    prepare_next: int = Field(
        1,
        ge=0,
        le=100,
        description="Unfinished tasks after an opened one that are prepared too; they are asked for at "
        "LABEL_STUDIO_URL. 0: none.",
    )
    max_connections: int = Field(
        512,
        ge=16,
        le=65536,
        description="Connections held at the same time, fewer where the system allows this process fewer open files. "
        "One too many closes the one whose client has been waited for longest.",
    )
    held_bodies_mib: int = Field(
        512,
        ge=1,
        description="MiB for all request bodies that arrive or are worked on, and for answers that clients have not "
        "taken; at least one body always has room. For one too many, the client that has been waited for longest is "
        "given up.",
    )
    max_body_mib: int = Field(
        64, ge=1, le=4096, description="Largest request body, in MiB; only CVAT's may be so large, with their frames."
    )
    max_predict_mib: int = Field(
        16, ge=1, le=4096, description="Largest body of Label Studio's `/predict`, with the drafts of the task, in MiB."
    )
    max_setup_mib: int = Field(
        1, ge=1, le=64, description="Largest body of `/setup`, with the labelling configuration, in MiB."
    )
    max_json_objects: int = Field(
        50_000, ge=100, le=10_000_000, description="Most objects and lists in one request body."
    )
    head_timeout_seconds: float = Field(
        10, gt=0, le=90, description="Time from a connection to the end of its request's head, in seconds."
    )
    body_timeout_seconds: float = Field(
        30, gt=0, le=90, description="Time for the whole body of a request to arrive, in seconds."
    )
    send_timeout_seconds: float = Field(
        30, gt=0, le=3600, description="Time for a client to take its answer, in seconds."
    )
    answer_timeout_seconds: float = Field(
        90,
        gt=0,
        le=3600,
        description="Time from the first byte of a click to its answer, in seconds; then it is answered 503. Label "
        "Studio itself waits 100.",
    )
    max_image_mib: int = Field(64, ge=1, le=4096, description="Largest image file, in MiB.")
    max_image_megapixels: int = Field(
        100, ge=1, le=_LARGEST_IMAGE_MEGAPIXELS, description="Largest image, in millions of pixels."
    )
    decode_processes: int = Field(
        2,
        ge=1,
        le=64,
        description="Helper processes that decode images, one at a time each; started when needed, and kept.",
    )
    decode_timeout_seconds: float = Field(
        20,
        gt=0,
        le=90,
        description="Time to read the header of an image, and to decode its pixels, in seconds each; then the helper "
        "process is killed.",
    )
    images_in_hand_megapixels: int = Field(
        128,
        ge=1,
        le=100_000,
        description="Millions of pixels of images that are decoded or worked on at the same time, beside those kept "
        "between clicks; more wait. An image larger than this is alone.",
    )
    connect_timeout_seconds: float = Field(
        5,
        gt=0,
        le=90,
        description="Longest wait for a name server, and for a connection, when fetching an image, in seconds.",
    )
    read_timeout_seconds: float = Field(
        10, gt=0, le=90, description="Longest silence of the other side when fetching an image, in seconds."
    )
    fetch_timeout_seconds: float = Field(
        20, gt=0, le=90, description="Time to fetch one image in all, redirects included, in seconds."
    )
    image_cache_mib: int = Field(512, ge=0, description="MiB for decoded images kept between clicks; 0 keeps none.")
    image_recheck_seconds: float = Field(
        60, ge=0, description="Time after which a kept image is fetched again, to see whether it changed, in seconds."
    )
    allowed_image_hosts: _Hosts = Field(
        (),
        validate_default=False,
        description="Hosts beside Label Studio that images may come from, separated by commas: "
        "`images.example.com`, `images.example.com:8080`, `*.example.com`, or `*` for all; without a port 80 and 443. "
        "They never see the token and must be at public addresses.",
    )
    private_image_hosts: Annotated[_Hosts, AfterValidator(_check_private_hosts)] = Field(
        (),
        validate_default=False,
        description="Such hosts that may also be at loopback and private addresses, for instance a MinIO of yours.",
    )
    local_files_root: Annotated[_ExistingFolder, AfterValidator(_check_root)] | None = Field(
        None,
        description="Label Studio's LOCAL_FILES_DOCUMENT_ROOT as this server sees it: local files are read from "
        "there; unset: fetched from Label Studio.",
    )
    basic_auth_user: Annotated[str, AfterValidator(_check_user)] | None = Field(
        None, description="User that every request but `/webhook` must name by basic authentication; unset: none must."
    )
    basic_auth_password_file: _ExistingFile | None = Field(
        None, description="File with that user's password, as secrets are mounted; empty: unset."
    )
    basic_auth_password: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        None, validate_default=True, description="The password itself, instead of a file."
    )
    log_level: _LogLevel = Field("INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`.")
    log_format: LogFormat = Field(
        "auto",
        description="`terminal`: lines for people; `text`: with date, level and logger; `json`: one object a line, for "
        "log collectors; `auto`: `terminal` where standard error is a terminal, else `text`.",
    )
    label_studio_url: Annotated[str, AfterValidator(_check_url)] | None = Field(
        None,
        validation_alias="LABEL_STUDIO_URL",
        description="Address of Label Studio as this server reaches it; the only one that sees the token.",
    )
    label_studio_api_key_file: _ExistingFile | None = Field(
        None,
        validation_alias=f"{_KEY_VARIABLE}_FILE",
        description="File with a personal access token (or legacy token) to fetch images with; empty: unset.",
    )
    label_studio_api_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        None, validate_default=True, validation_alias=_KEY_VARIABLE, description="The token itself, instead of a file."
    )
    propose: Literal["off", "accepted"] = Field(
        "off",
        description="`accepted`: opening a task, and asking for predictions, brings [proposals](proposals.md) by the "
        "project's accepted annotations; `off`: nothing.",
    )
    propose_examples: int = Field(
        3, ge=1, le=20, description="Newest annotated images that are examples of a label for proposals."
    )
    propose_score: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Least score of a proposal that is given: the share of proposals with this score that overlap "
        "their object by half or more.",
    )
    propose_wait_seconds: float = Field(
        3,
        ge=0,
        le=60,
        description="Longest that the opening of a task waits for its proposals, in seconds; later ones are there when "
        "it is opened again.",
    )

    @field_validator("basic_auth_password", "label_studio_api_key", mode="before")
    @classmethod
    def _read_secret(cls, secret: str | None, info: ValidationInfo) -> str | None:
        """Of the field's file, which is checked before, unless the environment has the secret itself."""
        file = info.data.get(f"{info.field_name}_file")
        if file is None:
            return secret
        try:
            kept = file.read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"{file} should be a text file that this process may read") from None
        if secret is not None and kept is not None:
            raise ValueError(f"should not be set where {file} holds one, too")
        return secret or kept

    @field_validator("cvat_port")
    @classmethod
    def _check_cvat_port(cls, port: int | None, info: ValidationInfo) -> int | None:
        if port is not None and port == info.data.get("port"):
            raise ValueError("should be another one than M2N2_PORT")
        return port

    @field_validator("own_peer")
    @classmethod
    def _check_own_peer(cls, own: str | None, info: ValidationInfo) -> str | None:
        peers = info.data.get("peers")
        if peers is not None and (own is not None or peers) and own not in peers:
            raise ValueError(f"should be one of M2N2_PEERS: {', '.join(peers) or 'which is unset'}")
        return own

    @field_validator("basic_auth_password")
    @classmethod
    def _check_pair(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "basic_auth_user" in info.data and (password is None) != (info.data["basic_auth_user"] is None):
            raise ValueError("should be set where M2N2_BASIC_AUTH_USER is, and only there")
        return password

    @field_validator("propose")
    @classmethod
    def _check_propose(cls, propose: str, info: ValidationInfo) -> str:
        if propose == "off":
            return propose
        if info.data.get("engine") == "ray":
            raise ValueError("should be off with M2N2_ENGINE=ray: replicas make no proposals")
        if info.data.get("prepare_ahead") == 0:
            raise ValueError("should be off with M2N2_PREPARE_AHEAD=0: proposals are made in that queue")
        if not (info.data.get("label_studio_url") and info.data.get("label_studio_api_key")):
            raise ValueError(
                "should be set with LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY: annotations come from there"
            )
        return propose

    @property
    def prediction_places(self) -> int:
        """How many of the server's threads predictions may hold at the same time."""
        return self.server_threads - max(1, self.server_threads // 8)

    def engine_config(self) -> EngineConfig:
        """What the engine needs to be built, in the engine's own units."""
        return EngineConfig(
            weights=WeightsConfig(
                cache_folder=self.cache_folder,
                bundled_folder=self.bundled_folder,
                folder=self.weights_folder,
                model_id=self.model_id,
                revision=self.model_revision,
                offline=self.offline,
            ),
            backbone=self.backbone,
            device=self.device,
            precision=self.precision,
            grid=self.grid,
            session_cache_bytes=None if self.session_cache_mib is None else self.session_cache_mib * MEBIBYTE,
            host_cache_bytes=self.host_cache_mib * MEBIBYTE,
            disk_cache_bytes=self.disk_cache_mib * MEBIBYTE,
            disk_cache_folder=self.disk_cache_folder,
            threads=self.threads,
            preset=self.preset,
            changes=self._method_changes(),
        )

    def _method_changes(self) -> dict[str, object]:
        changes: dict[str, object] = {}
        if self.working_size_pixels is not None:
            changes["working_size_pixels"] = self.working_size_pixels
        if self.click_area_limit_percent is not None:
            changes["click_area_limit"] = self.click_area_limit_percent / 100
        if not self.zoom:
            changes["zoom_largest"] = 0.0
        return changes


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


def render_settings_table() -> str:
    """The settings as a Markdown table, for docs/settings.md."""
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
        case None | ():
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
    shown = "" if value is None or variable in _SECRET_VARIABLES else f"={value!r}"
    reason = message.removeprefix("Value error, ")
    return f"{variable}{shown} cannot be used: {reason[0].lower()}{reason[1:]}; correct it or unset it"
