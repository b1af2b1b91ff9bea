"""What the Prometheus Operator documents of its two kinds, as far as the manifests could use it: JSON Schemas.

Stricter than its own definitions: what stands in none of these fields is a mistake here.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string", "minLength": 1}
_DURATION = {"type": "string", "pattern": r"^(0|(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?)$", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


_SELECTOR = _object(
    (),
    matchLabels=_TEXTS,
    matchExpressions=_list(
        _object(
            ("key", "operator"),
            key=_TEXT,
            operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
            values=_list(_TEXT),
        )
    ),
)
_RELABELING = _object(
    (),
    sourceLabels=_list({"type": "string", "pattern": r"^[A-Za-z_]\w*$"}),
    separator={"type": "string"},
    targetLabel={"type": "string"},
    regex={"type": "string"},
    modulus={"type": "integer"},
    replacement={"type": "string"},
    action={
        "enum": [
            *("replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase"),
            *("keepequal", "dropequal"),
        ]
    },
)
_ENDPOINT = _object(
    ("port",),
    port=_TEXT,
    path={"type": "string", "pattern": "^/"},
    scheme={"enum": ["http", "https"]},
    params={"type": "object"},
    interval=_DURATION,
    scrapeTimeout=_DURATION,
    honorLabels={"type": "boolean"},
    honorTimestamps={"type": "boolean"},
    tlsConfig={"type": "object"},
    basicAuth={"type": "object"},
    authorization={"type": "object"},
    relabelings=_list(_RELABELING),
    metricRelabelings=_list(_RELABELING),
)
_RULE = {
    **_object(
        ("expr",),
        alert=_TEXT,
        record=_TEXT,
        expr={"type": ["string", "integer"]},
        **{"for": _DURATION},
        keep_firing_for=_DURATION,
        labels=_TEXTS,
        annotations=_TEXTS,
    ),
    "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
}
_METADATA = _object(("name", "namespace"), name=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS)


def _kind(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": kind},
        metadata=_METADATA,
        spec=spec,
    )


SCHEMAS = {
    "ServiceMonitor": _kind(
        "ServiceMonitor",
        _object(
            ("selector", "endpoints"),
            jobLabel=_TEXT,
            targetLabels=_list(_TEXT),
            podTargetLabels=_list(_TEXT),
            selector=_SELECTOR,
            namespaceSelector={"type": "object"},
            endpoints=_list(_ENDPOINT),
            sampleLimit={"type": "integer"},
        ),
    ),
    "PrometheusRule": _kind(
        "PrometheusRule",
        _object(
            ("groups",),
            groups=_list(
                _object(
                    ("name", "rules"),
                    name=_TEXT,
                    interval=_DURATION,
                    labels=_TEXTS,
                    limit={"type": "integer"},
                    query_offset=_DURATION,
                    rules=_list(_RULE),
                )
            ),
        ),
    ),
}
