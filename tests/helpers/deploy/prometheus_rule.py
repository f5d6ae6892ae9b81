"""The alerts as a resource of the Prometheus operator: ``python -m tests.helpers.deploy.prometheus_rule`` writes it."""

from __future__ import annotations

from ..paths import ROOT

ALERTS = ROOT / "deploy" / "monitoring" / "alerts.yml"
RULE = ROOT / "deploy" / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml"
_HEAD = """\
# Written by `python -m tests.helpers.deploy.prometheus_rule` from deploy/monitoring/alerts.yml, which is to be changed.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: m2n2
  labels:
    app.kubernetes.io/name: m2n2
spec:
"""


def render_rule() -> str:
    """The resource with the rules of the alerts, word by word."""
    lines = ALERTS.read_text(encoding="utf-8").splitlines()
    return _HEAD + "".join(f"  {line}\n" if line else "\n" for line in lines)


if __name__ == "__main__":
    RULE.write_text(render_rule(), encoding="utf-8")
