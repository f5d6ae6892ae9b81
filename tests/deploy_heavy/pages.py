"""The pages of docs/operate that tests follow. What is typed otherwise than it is written, and what is left out, stands
here with the reason."""

from __future__ import annotations

from tests.helpers.deploy.documents import OPERATE, Page

# Nobody is there to be asked.
REPOSITORY = {"<this repository>": "/repository"}
# The machine of the tests may be busy, and kernels are compiled at the first start.
PATIENCE = {"--retry 120": "--retry 900"}
NEEDS_A_GPU = {"install -D --mode 644 deploy/systemd/gpu.conf": "needs a GPU"}
NEEDS_LABEL_STUDIO = {"set -a; . /etc/m2n2/m2n2.env": "needs a Label Studio; tests/e2e has it"}

BARE_METAL = Page(
    OPERATE / "bare-metal.md",
    typed={
        **REPOSITORY,
        **PATIENCE,
        # pip finds the build where it finds the others on this machine.
        " --index-url https://download.pytorch.org/whl/cpu    #": "    #",
        # The example is taken as it is.
        "editor /etc/m2n2/m2n2.env": "cat /etc/m2n2/m2n2.env",
        "<your certificate with its chain>": "/root/certificate.crt",
        "<its key>": "/root/certificate.key",
    },
    left_out={
        ".venv/bin/pip install --require-hashes": "in place of the lines before; test_pins.py has it",
        **NEEDS_A_GPU,
        **NEEDS_LABEL_STUDIO,
    },
)
UPGRADES = Page(
    OPERATE / "upgrades.md",
    # Port 9090 is the service's own, and the page says that the doctor reports it.
    typed={".venv/bin/m2n2 doctor)": ".venv/bin/m2n2 doctor) || true"},
    left_out={"docker compose exec label-studio": "needs compose; tests/e2e/test_container_start.py has such keys"},
)

_AIR_GAP = OPERATE / "air-gap.md"
# The page says so for a machine with an index of its own, as that of the tests is.
_OWN_INDEX = {"deploy/air-gap/pack.sh": "TORCH_INDEX_URL= deploy/air-gap/pack.sh"}
PACK = Page(_AIR_GAP, "Pack", typed={**REPOSITORY, **_OWN_INDEX})
PREPARE = Page(_AIR_GAP, "Prepare")
INSTALL = Page(
    _AIR_GAP,
    "Install",
    left_out={
        "/var/tmp/m2n2-pack/install.sh --images": "needs an engine; test_air_gap.py has one that never saw the image"
    },
)
GO_ON = Page(
    OPERATE / "bare-metal.md",
    "Install",
    # What the page has set there.
    typed={**PATIENCE, "editor /etc/m2n2/m2n2.env": "echo M2N2_OFFLINE=true >> /etc/m2n2/m2n2.env"},
    left_out={
        "apt-get install git": "the pack has been installed instead",
        ".venv/bin/pip install --require-hashes": "the pack has been installed instead",
        "useradd": "the page of the pack has it",
        **NEEDS_A_GPU,
        **NEEDS_LABEL_STUDIO,
    },
)
PACK_NEWER = Page(_AIR_GAP, "Pack a newer version", typed=_OWN_INDEX)
UPGRADE = Page(_AIR_GAP, "Upgrade")
GO_BACK = Page(_AIR_GAP, "Go back")

_BACKUP = OPERATE / "backup.md"
# The page's own table says so for podman. Both folders are those of this run.
_HERE = {
    "cd /opt/m2n2": "cd {project}",
    "deploy/backup/backup.sh": "ENGINE=podman deploy/backup/backup.sh",
    "/var/backups": "{backups}",
}
SAVE = Page(_BACKUP, "Save", typed=_HERE)
RESTORE = Page(_BACKUP, "Restore", typed=_HERE)

_TOKEN = {"<personal access token>": "personal-access-token"}
KUBERNETES = Page(OPERATE / "kubernetes.md", typed=_TOKEN)
RAY = Page(
    OPERATE / "ray.md",
    typed=_TOKEN,
    left_out={
        "make ray ": "needs Ray; the last three are targets of their own, and start such replicas as the first",
        "serve deploy": "needs Ray; image/test_ray_image.py and tests/ray have it",
        "docker build": "needs an engine; image/test_ray_image.py builds the target for processors",
        "m2n2 plan": "`make plan` is it",
        "M2N2_SESSION_CACHE_MIB": "the same for the other machine",
    },
)

AIR_GAP = [PACK, PREPARE, INSTALL, GO_ON, PACK_NEWER, UPGRADE, GO_BACK]
PAGES = [BARE_METAL, UPGRADES, *AIR_GAP, SAVE, RESTORE, KUBERNETES, RAY]
