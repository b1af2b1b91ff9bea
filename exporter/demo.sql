-- Who may do what in the demo's MariaDB, which keeps nothing and listens to its neighbours alone. Nobody in it is real,
-- so the passwords are no secrets. In production each has its own: docs/apr.md.

-- The exporter. Two connections: one for a run, one to end a statement of it.
CREATE USER rounds@'%' IDENTIFIED BY 'synthetic' WITH MAX_USER_CONNECTIONS 2;
GRANT SELECT ON BMA.* TO rounds@'%';

-- Dashboards that show rows.
CREATE USER grafana@'%' IDENTIFIED BY 'synthetic';
GRANT SELECT ON BMA.* TO grafana@'%';

-- The pipeline, which makes its tables.
CREATE USER pipeline@'%' IDENTIFIED BY 'synthetic';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, INDEX ON BMA.* TO pipeline@'%';
