-- Who may do what in the demo's PostgreSQL, which keeps nothing and listens to its neighbours alone. Nobody in it is real,
-- so the passwords are no secrets. In production each has its own: docs/syncs.md.

-- The program that synchronises. It makes the log, so it must own the schema.
CREATE ROLE sync LOGIN PASSWORD 'synthetic' CONNECTION LIMIT 8;
ALTER SCHEMA public OWNER TO sync;

-- The exporter: it reads the log alone, and does so in one connection; another one ends a statement.
CREATE ROLE rounds LOGIN PASSWORD 'synthetic' CONNECTION LIMIT 2;
GRANT USAGE ON SCHEMA public TO rounds;
ALTER DEFAULT PRIVILEGES FOR ROLE sync IN SCHEMA public GRANT SELECT ON TABLES TO rounds;

-- Dashboards that show rows.
CREATE ROLE grafana LOGIN PASSWORD 'synthetic' CONNECTION LIMIT 4;
GRANT USAGE ON SCHEMA public TO grafana;
ALTER DEFAULT PRIVILEGES FOR ROLE sync IN SCHEMA public GRANT SELECT ON TABLES TO grafana;
