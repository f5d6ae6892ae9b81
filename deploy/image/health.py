"""health.py PORT [PATH]: status 0 where the server answers at this port of this machine, for HEALTHCHECK and probes.

PATH is /health unless it is given. User and password are those of the server's own environment.
"""

import base64
import http.client
import os
import sys
from pathlib import Path


def read_password() -> str:
    """The server's password, from where it reads it itself."""
    file = os.environ.get("M2N2_BASIC_AUTH_PASSWORD_FILE")
    return Path(file).read_text().strip() if file else os.environ.get("M2N2_BASIC_AUTH_PASSWORD", "")


port, path = int(sys.argv[1]), (sys.argv[2:] or ["/health"])[0]
pair = f"{os.environ.get('M2N2_BASIC_AUTH_USER', '')}:{read_password()}"
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
connection.request("GET", path, headers={"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"})
status = connection.getresponse().status
# 401 is a sign of life, where the password is another one meanwhile; but no sign that the model is there.
sys.exit(status != 200 and (path, status) != ("/health", 401))
