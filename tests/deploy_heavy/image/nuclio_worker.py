"""What a worker of nuclio does with deploy/cvat/nuclio/with_server.py, in short: start it, and hand it events.

nuclio_worker.py FILE: sends the body in FILE until the server that is started answers, sends it once more, and writes a
line of JSON: the status of both, both bodies, and the exit status of the server.
"""

import json
import sys
from pathlib import Path

import nuclio_sdk
import nuclio_sdk.test
import with_server

context = nuclio_sdk.test.Platform().context
with_server.init_context(context)
event = nuclio_sdk.Event(body=json.loads(Path(sys.argv[1]).read_text()))
while (first := with_server.handler(context, event)).status_code == 502:
    pass
second = with_server.handler(context, event)
context.user_data.server.terminate()
ended = context.user_data.server.wait()
answers = {"statuses": [first.status_code, second.status_code], "bodies": [first.body, second.body], "ended": ended}
sys.stdout.write(f"\n{json.dumps(answers)}\n")
