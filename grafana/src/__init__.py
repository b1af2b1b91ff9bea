"""The dashboards as code: `python grafana/src/build.py` writes `grafana/dashboards/`."""
