"""health.py PORT: status 0 where the server answers on this port of this machine, for the image's HEALTHCHECK."""

import http.client
import sys

# 401, the answer where basic authentication is on, is a sign of life too.
_ALIVE = (200, 401)

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=1)
connection.request("GET", "/health")
sys.exit(connection.getresponse().status not in _ALIVE)
