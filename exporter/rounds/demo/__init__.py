"""``rounds demo``: the whole pipeline on one machine, with synthetic services and tables that change on a script.

Nothing here is needed in production. What is shown is the real thing: the exporter as a process, the production rules,
routes and templates in real Prometheus and Alertmanager, and catchers in the place of Slack and a mail server.
"""
