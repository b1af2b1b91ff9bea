"""``rounds demo``: all five domains on one machine, on synthetic data that change on a script.

Nothing here is needed in production. What is shown is the real thing: the exporter as a process, databases on real
servers, the production rules, routes and templates in real Prometheus and Alertmanager, and catchers in the place of
Slack and a mail server.
"""
