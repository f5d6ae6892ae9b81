"""RayService as KubeRay has it: a schema of the part that our manifest uses, and the way to check by a real CRD."""

from __future__ import annotations

from typing import Any

_GROUP_PROPERTIES = {
    "rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}},
    # Of Kubernetes, and checked as pods.
    "template": {"type": "object", "required": ["spec"]},
}
_COUNT = {"type": "integer", "minimum": 0}

# Read off the reference of the API ray.io/v1 by hand: names, types and what is required of the fields that we use.
# What we do not use is left out, so that a field with a slip in its name is refused.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayService"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["serveConfigV2", "rayClusterConfig"],
            "properties": {
                "serveConfigV2": {"type": "string"},
                "rayClusterConfig": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["headGroupSpec"],
                    "properties": {
                        "rayVersion": {"type": "string"},
                        "enableInTreeAutoscaling": {"type": "boolean"},
                        "authOptions": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"mode": {"enum": ["disabled", "token"]}, "secretName": {"type": "string"}},
                        },
                        # Of Kubernetes, and checked as those of a container.
                        "autoscalerOptions": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"resources": {"type": "object"}, "securityContext": {"type": "object"}},
                        },
                        "headGroupSpec": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": list(_GROUP_PROPERTIES),
                            "properties": _GROUP_PROPERTIES,
                        },
                        "workerGroupSpecs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["groupName", "minReplicas", "maxReplicas", *_GROUP_PROPERTIES],
                                "properties": {
                                    "groupName": {"type": "string"},
                                    "replicas": _COUNT,
                                    "minReplicas": _COUNT,
                                    "maxReplicas": _COUNT,
                                    **_GROUP_PROPERTIES,
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def read_schema(definition: Any, version: str) -> dict[str, Any]:
    """The schema that a CustomResourceDefinition has for this version, made as strict as ``kubectl``: a field that it
    does not name is refused and not dropped."""
    (found,) = (entry for entry in definition["spec"]["versions"] if entry["name"] == version)
    schema = _forbid_unknown(found["schema"]["openAPIV3Schema"])
    # What of these is allowed is Kubernetes' own.
    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}}
    return schema


def _forbid_unknown(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_forbid_unknown(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _forbid_unknown(value) for name, value in schema.items()}
    has_fields = schema.get("type") == "object" and isinstance(schema.get("properties"), dict)
    if has_fields and not schema.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    return strict
