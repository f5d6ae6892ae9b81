"""What the Prometheus operator's API ``monitoring.coreos.com/v1`` takes, as far as deploy/kubernetes uses it.

Written by hand from its documented fields, and stricter: what is not named here is an error, where a cluster would drop
it without a word. `make deploy-test` also asks the operator's own types, by a package of npm that is made of them.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_DURATION: Schema = {"type": "string", "pattern": r"^(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$", "minLength": 2}
_LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(required: list[str], **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _resource(kind: str, spec: Schema) -> Schema:
    return _object(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": kind},
        metadata=_object(["name"], name=_TEXT, namespace=_TEXT, labels=_LABELS),
        spec=spec,
    )


_SECRET_KEY = _object(["key"], name=_TEXT, key=_TEXT)

_ENDPOINT = _object(
    ["port"],
    port=_TEXT,
    path={"type": "string", "pattern": "^/"},
    interval=_DURATION,
    basicAuth=_object(["username", "password"], username=_SECRET_KEY, password=_SECRET_KEY),
)

# PromQL itself is promtool's business.
_RECORD = _object(["record", "expr"], record={"type": "string", "pattern": "^[a-zA-Z_:][a-zA-Z0-9_:]*$"}, expr=_TEXT)
_ALERT = _object(
    ["alert", "expr"],
    alert=_TEXT,
    expr=_TEXT,
    labels=_LABELS,
    annotations=_LABELS,
    **{"for": _DURATION, "keep_firing_for": _DURATION},
)

SCHEMAS: dict[str, Schema] = {
    "ServiceMonitor": _resource(
        "ServiceMonitor",
        _object(
            ["selector", "endpoints"],
            selector=_object(["matchLabels"], matchLabels=_LABELS),
            endpoints=_list(_ENDPOINT),
        ),
    ),
    "PrometheusRule": _resource(
        "PrometheusRule",
        _object(
            ["groups"],
            groups=_list(
                _object(["name", "rules"], name=_TEXT, interval=_DURATION, rules=_list({"oneOf": [_RECORD, _ALERT]}))
            ),
        ),
    ),
}
"""Kind -> schema of a resource."""
