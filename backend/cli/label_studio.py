"""``m2n2 label-studio``: prints a configuration, connects a project, finds out why clicks stay unanswered.

Imports what it needs when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backend.tools.context import read_server_settings
from m2n2_engine.tools.context import output, working_on

if TYPE_CHECKING:
    from backend.label_studio.client import LabelStudioClient
    from backend.label_studio.project_setup import Attachment
    from backend.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Set a Label Studio project up, and find out why it does not answer.")

UrlOption = Annotated[str | None, typer.Option(help="Label Studio's address; without it LABEL_STUDIO_URL.")]
TokenOption = Annotated[
    str | None, typer.Option(help="Token of a user who may change the project; without it LABEL_STUDIO_API_KEY.")
]
BackendOption = Annotated[
    str | None, typer.Option(help="This server's address as Label Studio reaches it; without it localhost.")
]
PromptsOption = Annotated[
    str, typer.Option(help="What annotators ask with: points, boxes or both, as in points,boxes.")
]
AnswersOption = Annotated[
    str, typer.Option(help="What masks become: brush, bitmask, polygon or several, as in brush,polygon.")
]


def use_label_studio(settings: Settings, url: str | None, token: str | None) -> Settings:
    """The settings with the Label Studio of a command's options, where it has any."""
    from pydantic import SecretStr

    given = {"label_studio_url": url, "label_studio_api_key": SecretStr(token) if token else None}
    return settings.model_copy(update={name: value for name, value in given.items() if value})


def open_client(settings: Settings) -> LabelStudioClient:
    """The Label Studio of the settings. Raises BadParameter where none is set."""
    from backend.label_studio.client import LabelStudioClient

    if settings.label_studio_url is None or settings.label_studio_api_key is None:
        raise typer.BadParameter("give --url and --token, or set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY")
    return LabelStudioClient(settings.label_studio_url, settings.label_studio_api_key)


@app.command()
def config(
    labels: Annotated[str, typer.Option(help="Labels, as in Car,Person.")],
    prompts: PromptsOption = "points",
    answers: AnswersOption = "brush",
) -> None:
    """Print a labelling configuration that works."""
    from backend.label_studio.project_setup import parse_kinds, parse_labels, render_label_config

    typer.echo(render_label_config(parse_labels(labels), parse_kinds(prompts, answers)), nl=False)


@app.command()
def connect(
    context: typer.Context,
    project: Annotated[str, typer.Option(help="Number of the project; with --create the title of a new one.")],
    url: UrlOption = None,
    token: TokenOption = None,
    create: Annotated[bool, typer.Option("--create", help="Make a new project.")] = False,
    labels: Annotated[
        str | None, typer.Option(help="Labels, as in Car,Person: replace the project's labelling configuration.")
    ] = None,
    prompts: PromptsOption = "points",
    answers: AnswersOption = "brush",
    backend: BackendOption = None,
) -> None:
    """Make this server the model of a project, and try a click."""
    from backend.label_studio.project_setup import (
        Kinds,
        add_instructions,
        attach_backend,
        create_project,
        parse_kinds,
        parse_labels,
        set_labels,
    )

    client, attachment = _open(context, url, token, backend)
    parsed = parse_labels(labels) if labels is not None else None
    kinds = parse_kinds(prompts, answers)
    if parsed is None and not create and kinds != Kinds():
        raise typer.BadParameter("--prompts and --answers make a new labelling configuration: give its --labels too")
    if create:
        number = create_project(client, project, parsed or ["Object"], attachment.url, kinds)
        output.print(f"project {number} created: {client.url}/projects/{number}", highlight=False)
    else:
        number = _parse_project(project)
        if parsed is not None:
            set_labels(client, number, parsed, kinds)
        if add_instructions(client, number, attachment.url):
            output.print("the project had no instructions: annotators now get those below", highlight=False)
    with working_on("Label Studio looks at the backend"):
        attach_backend(client, number, attachment)
    _report(client, number, attachment)


@app.command()
def check(
    context: typer.Context,
    project: Annotated[str, typer.Option(help="Number of the project.")],
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Look for every known reason why clicks stay unanswered; each line is ok or says what to do."""
    client, attachment = _open(context, url, token, backend=None)
    _report(client, _parse_project(project), attachment)


def _open(
    context: typer.Context, url: str | None, token: str | None, backend: str | None
) -> tuple[LabelStudioClient, Attachment]:
    from backend.label_studio.project_setup import Attachment

    settings = use_label_studio(read_server_settings(context), url, token)
    attachment = Attachment(
        url=(backend or f"http://localhost:{settings.port}").rstrip("/"),
        user=settings.basic_auth_user,
        password=settings.basic_auth_password,
    )
    return open_client(settings), attachment


def _parse_project(text: str) -> int:
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is no number of a project; --create makes one of that title")
    return int(text)


def _report(client: LabelStudioClient, project: int, backend: Attachment) -> None:
    """Print the check's findings and the hints; exit status 1 where one is not ok."""
    from backend.label_studio.project_check import check_project
    from backend.label_studio.project_setup import HINTS

    is_ok = True
    for finding in check_project(client, project, backend):
        output.print("[green]ok     [/]" if finding.is_ok else "[red]problem[/]", end=" ")
        output.print(f"{finding.name:<13}{finding.text}", markup=False, highlight=False)
        is_ok = is_ok and finding.is_ok
    if not is_ok:
        raise typer.Exit(1)
    output.print("To annotate:", highlight=False)
    for hint in HINTS:
        output.print(f"- {hint}", markup=False, highlight=False)
