-- Tables that are kept in step with a flow; docs/sync.md says who writes what.

CREATE TABLE jflow.sync (
	name pg_catalog.text COLLATE pg_catalog."C" PRIMARY KEY
		CHECK (pg_catalog.octet_length(name) BETWEEN 1 AND 63),
	id pg_catalog.int4 NOT NULL UNIQUE CHECK (id > 0),
	flow pg_catalog.text COLLATE pg_catalog."C" NOT NULL UNIQUE,
	source pg_catalog.regclass NOT NULL,
	key pg_catalog.text NOT NULL,
	columns pg_catalog.jsonb NOT NULL CHECK (pg_catalog.jsonb_typeof(columns) = 'object'),
	endpoint pg_catalog.text NOT NULL,
	mode pg_catalog.text NOT NULL CHECK (mode IN ('live', 'manual', 'immediate')),
	batch pg_catalog.int4 NOT NULL CHECK (batch BETWEEN 1 AND 10000),
	retries pg_catalog.int4 NOT NULL CHECK (retries >= 0),
	in_place pg_catalog.bool NOT NULL,	-- the source is the store
	created pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	-- of one that takes another's place: changes of uses_with, and whether failed rows may be missing
	uses_with pg_catalog.jsonb,
	skip_failed pg_catalog.bool NOT NULL DEFAULT false
);

-- Numbers of syncs, of which none is ever given again: triggers and queues name them.
CREATE SEQUENCE jflow.sync_number AS pg_catalog.int4;

-- What the store is known to have.  Rows without a hash are to be posted, the
-- sooner the earlier "due" is; infinity: set aside.  Those of SQLSTATE 57P02 were on their
-- way when the server crashed, and are posted apart from others.
CREATE TABLE jflow.sync_row (
	sync pg_catalog.int4 NOT NULL,
	key pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	hash pg_catalog.int8,
	due pg_catalog.timestamptz,
	attempts pg_catalog.int4 NOT NULL DEFAULT 0,
	failed pg_catalog.timestamptz,
	sqlstate pg_catalog.text,
	message pg_catalog.text,
	PRIMARY KEY (sync, key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX sync_row_due ON jflow.sync_row (sync, due) WHERE due IS NOT NULL;

-- Keys that a round brings to the store, which may have anything of them till the
-- round's end: of so many the queue has told, the first time then, the others are found
-- by comparison.  Of "due" the row of sync_row says the same anyway.  The time of the
-- claim tells rounds apart, so that no row that is gone has the key of a new one.
CREATE TABLE jflow.sync_flight (
	sync pg_catalog.int4 NOT NULL,
	claimed pg_catalog.timestamptz NOT NULL,
	changed pg_catalog.int4 NOT NULL,
	oldest pg_catalog.timestamptz,
	keys pg_catalog.text[] NOT NULL,
	due pg_catalog.text[] NOT NULL,
	PRIMARY KEY (sync, claimed)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100, autovacuum_vacuum_cost_delay = 0,
	toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 1000, toast.autovacuum_vacuum_cost_delay = 0);
-- They live for a moment: compressing them would cost more than it saves.
ALTER TABLE jflow.sync_flight ALTER COLUMN keys SET STORAGE EXTERNAL, ALTER COLUMN due SET STORAGE EXTERNAL;

-- Where a sync is at work.  Not dumped: a restored database is another one.
CREATE TABLE jflow.sync_state (
	sync pg_catalog.int4 NOT NULL,
	system_identifier pg_catalog.int8 NOT NULL,
	database pg_catalog.int8 NOT NULL,
	paused pg_catalog.bool NOT NULL DEFAULT false,
	PRIMARY KEY (sync, system_identifier, database)
);

CREATE TABLE jflow.sync_progress (
	sync pg_catalog.int4 PRIMARY KEY,
	phase pg_catalog.text NOT NULL CHECK (phase IN ('fill', 'compare', 'sweep', 'follow')),
	position pg_catalog.text,
	sqlstate pg_catalog.text,
	message pg_catalog.text,
	hint pg_catalog.text,
	failed pg_catalog.timestamptz
) WITH (fillfactor = 50);

CREATE TABLE jflow.sync_queue (
	sync pg_catalog.int4 NOT NULL,
	changed pg_catalog.timestamptz NOT NULL,
	key pg_catalog.text COLLATE pg_catalog."C"
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
	autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX sync_queue_changed ON jflow.sync_queue (sync, changed);

SELECT pg_catalog.pg_extension_config_dump('jflow.sync', '');
SELECT pg_catalog.pg_extension_config_dump('jflow.sync_number', '');
SELECT pg_catalog.pg_extension_config_dump('jflow.sync_row', '');
SELECT pg_catalog.pg_extension_config_dump('jflow.sync_flight', '');
GRANT SELECT ON jflow.sync, jflow.sync_number, jflow.sync_row, jflow.sync_flight TO pg_database_owner;

-- A scout shall look which workers are wanted.
CREATE TRIGGER runtime_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.sync
	FOR EACH ROW EXECUTE FUNCTION jflow.runtime_changed();
CREATE TRIGGER runtime_truncated AFTER TRUNCATE ON jflow.sync
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.runtime_changed();
CREATE TRIGGER runtime_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.sync_state
	FOR EACH ROW EXECUTE FUNCTION jflow.runtime_changed();
CREATE TRIGGER runtime_truncated AFTER TRUNCATE ON jflow.sync_state
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.runtime_changed();
CREATE TRIGGER runtime_workers AFTER UPDATE OF name, flow ON jflow.sync
	FOR EACH ROW EXECUTE FUNCTION jflow.runtime_changed('workers');
CREATE TRIGGER runtime_workers AFTER INSERT OR UPDATE OR DELETE ON jflow.sync_state
	FOR EACH ROW EXECUTE FUNCTION jflow.runtime_changed('workers');

-- Triggers of sources; only jflow_sync makes them.
CREATE FUNCTION jflow.sync_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'jflow_sync_changed' LANGUAGE C;
CREATE FUNCTION jflow.sync_statement() RETURNS trigger
	AS 'MODULE_PATHNAME', 'jflow_sync_statement' LANGUAGE C;
REVOKE ALL ON FUNCTION jflow.sync_changed(), jflow.sync_statement() FROM PUBLIC;

CREATE FUNCTION @extschema@.jflow_sync(
		name pg_catalog.text,
		flow pg_catalog.text,
		source pg_catalog.regclass,
		columns pg_catalog.jsonb,
		id pg_catalog.text DEFAULT NULL,
		endpoint pg_catalog.text DEFAULT '/index',
		mode pg_catalog.text DEFAULT 'live',
		batch pg_catalog.int4 DEFAULT 100,
		retries pg_catalog.int4 DEFAULT 5)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_unsync(name pg_catalog.text, if_exists pg_catalog.bool DEFAULT false)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_sync_pause(name pg_catalog.text) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_sync_resume(name pg_catalog.text) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_sync_retry(name pg_catalog.text) RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_sync_run(name pg_catalog.text, timeout pg_catalog.interval DEFAULT NULL)
	RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_resync(
		name pg_catalog.text,
		uses_with pg_catalog.jsonb DEFAULT NULL,
		skip_failed pg_catalog.bool DEFAULT false)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

-- What the worker of a sync has done; of those that run.
CREATE FUNCTION jflow.sync_workers(
		OUT name pg_catalog.text, OUT flow pg_catalog.text, OUT pid pg_catalog.int4,
		OUT docs pg_catalog.int8, OUT errors pg_catalog.int8, OUT rate pg_catalog.float8,
		OUT obstacle pg_catalog.text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'jflow_sync_worker_rows' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
CREATE FUNCTION jflow.sync_here(sync pg_catalog.int4) RETURNS pg_catalog.text
	AS 'MODULE_PATHNAME', 'jflow_sync_here' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

CREATE VIEW @extschema@.jflow_sync_status WITH (security_barrier) AS
	SELECT s.name, s.flow, s.source, s.mode,
		CASE WHEN s.here = 'elsewhere' THEN 'paused'
			WHEN s.here = 'paused' THEN 'paused'
			WHEN s.mode = 'immediate' THEN 'immediate'
			WHEN w.pid IS NULL OR NOT jflow.is_started(s.flow) THEN 'stopped'
			WHEN p.phase <> 'follow' THEN 'comparing'
			ELSE 'following' END AS state,
		q.n + f.n + r.waiting AS pending, r.failed,
		least(q.oldest, f.oldest, r.oldest) AS oldest,
		CASE WHEN p.phase IN ('fill', 'compare') AND jflow.is_owner(s.flow) THEN p.position END AS position,
		w.docs, w.rate, w.pid,
		CASE WHEN s.here = 'elsewhere' THEN 'the database was restored or copied; call jflow_sync_resume'
			WHEN NOT jflow.is_owner(s.flow) THEN 'SQLSTATE ' || p.sqlstate
			WHEN s.here = 'active' AND s.mode <> 'immediate' AND NOT jflow.is_started(s.flow)
				THEN 'the flow is not started; call jflow_start'
			ELSE coalesce(p.message || coalesce(' (' || p.hint || ')', ''), w.obstacle,
				CASE WHEN s.here = 'active' AND s.mode <> 'immediate' AND w.pid IS NULL
					THEN jflow.start_obstacle() END) END AS last_error,
		p.failed AS last_error_at
	FROM (SELECT *, jflow.sync_here(id) AS here FROM jflow.sync) s
		LEFT JOIN jflow.sync_progress p ON p.sync = s.id
		LEFT JOIN jflow.sync_workers() w ON w.name = s.name AND w.flow = s.flow
		CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS n, pg_catalog.min(changed) AS oldest
			FROM jflow.sync_queue WHERE sync = s.id) q
		CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.sum(changed), 0) AS n, pg_catalog.min(oldest) AS oldest
			FROM jflow.sync_flight WHERE sync = s.id) f
		CROSS JOIN LATERAL (SELECT pg_catalog.count(*) FILTER (WHERE due < 'infinity') AS waiting,
				pg_catalog.count(*) FILTER (WHERE attempts > 0) AS failed,
				pg_catalog.min(due) FILTER (WHERE attempts = 0) AS oldest
			FROM jflow.sync_row WHERE sync = s.id AND due IS NOT NULL) r
	WHERE jflow.may_see(s.flow);

CREATE VIEW @extschema@.jflow_sync_errors WITH (security_barrier) AS
	SELECT s.name, CASE WHEN jflow.is_owner(s.flow) THEN r.key END AS id, r.attempts, r.sqlstate,
		CASE WHEN jflow.is_owner(s.flow) THEN r.message END AS message, r.failed AS at,
		CASE WHEN r.due < 'infinity' THEN r.due END AS next_try
	FROM jflow.sync s JOIN jflow.sync_row r ON r.sync = s.id
	WHERE r.due IS NOT NULL AND r.attempts > 0 AND jflow.may_see(s.flow);

CREATE VIEW @extschema@.jflow_metrics AS
	SELECT * FROM jflow.metrics()
	UNION ALL
	SELECT m.name, m.type, m.help, pg_catalog.jsonb_build_object('sync', s.name, 'flow', s.flow), m.value
	FROM @extschema@.jflow_sync_status s CROSS JOIN LATERAL (VALUES
		('jflow_sync_pending', 'gauge', 'Changed rows of a synced table that are still to be posted.',
			s.pending::pg_catalog.float8),
		('jflow_sync_failed', 'gauge', 'Rows of a synced table that have failed.', s.failed::pg_catalog.float8),
		('jflow_sync_lag_seconds', 'gauge', 'Age of the oldest change that is still to be posted.',
			coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - s.oldest), 0)::pg_catalog.float8),
		('jflow_sync_documents_total', 'counter', 'Documents that the worker of a sync has brought to its flow.',
			s.docs::pg_catalog.float8)) m (name, type, help, value)
	WHERE m.value IS NOT NULL;

GRANT SELECT ON @extschema@.jflow_sync_status, @extschema@.jflow_sync_errors, @extschema@.jflow_metrics TO PUBLIC;
