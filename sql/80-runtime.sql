-- Replicas.

-- Which flows are started, where.  Not dumped: a restored database is another
-- one, whose flows are stopped.
CREATE TABLE jflow.run_state (
	flow pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	system_identifier pg_catalog.int8 NOT NULL,
	database pg_catalog.int8 NOT NULL,
	started pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (flow, system_identifier, database)
);

CREATE FUNCTION jflow.runtime_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'jflow_runtime_changed' LANGUAGE C;
REVOKE ALL ON FUNCTION jflow.runtime_changed() FROM PUBLIC;

CREATE TRIGGER runtime_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.run_state
	FOR EACH ROW EXECUTE FUNCTION jflow.runtime_changed();
CREATE TRIGGER runtime_truncated AFTER TRUNCATE ON jflow.run_state
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.runtime_changed();
CREATE TRIGGER runtime_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.flow
	FOR EACH ROW EXECUTE FUNCTION jflow.runtime_changed();
CREATE TRIGGER runtime_truncated AFTER TRUNCATE ON jflow.flow
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.runtime_changed();
CREATE TRIGGER runtime_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.executor
	FOR EACH ROW EXECUTE FUNCTION jflow.runtime_changed();
CREATE TRIGGER runtime_truncated AFTER TRUNCATE ON jflow.executor
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.runtime_changed();
-- what a row says of workers takes effect at commit
CREATE TRIGGER runtime_workers AFTER INSERT OR DELETE ON jflow.run_state
	FOR EACH ROW EXECUTE FUNCTION jflow.runtime_changed('workers');
CREATE TRIGGER runtime_workers AFTER INSERT OR DELETE OR UPDATE OF replicas, shards ON jflow.executor
	FOR EACH ROW EXECUTE FUNCTION jflow.runtime_changed('workers');
-- indexes are to be made, by a mover
CREATE TRIGGER runtime_changed AFTER UPDATE OF due ON jflow.shard
	FOR EACH ROW EXECUTE FUNCTION jflow.runtime_changed();

CREATE FUNCTION @extschema@.jflow_start(flow pg_catalog.text) RETURNS pg_catalog.int4
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_stop(flow pg_catalog.text) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_scale(
		flow pg_catalog.text, executor pg_catalog.text,
		replicas pg_catalog.int4 DEFAULT NULL, shards pg_catalog.int4 DEFAULT NULL,
		servers pg_catalog.text[] DEFAULT NULL)
	RETURNS pg_catalog.int4
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_restart(flow pg_catalog.text, executor pg_catalog.text)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_wait(
		flow pg_catalog.text, timeout pg_catalog.interval DEFAULT '30s')
	RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_cancel(post pg_catalog.int8) RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

CREATE FUNCTION jflow.is_started(flow pg_catalog.text) RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME', 'jflow_is_started' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

-- why no replica can start in this database
CREATE FUNCTION jflow.start_obstacle() RETURNS pg_catalog.text
	AS 'MODULE_PATHNAME', 'jflow_start_obstacle' LANGUAGE C VOLATILE PARALLEL RESTRICTED;

CREATE FUNCTION jflow.pools(
		OUT flow pg_catalog.text, OUT executor pg_catalog.text, OUT shard pg_catalog.int4,
		OUT running pg_catalog.int4, OUT starting pg_catalog.int4, OUT queued pg_catalog.int4,
		OUT failures pg_catalog.int4, OUT reason pg_catalog.text, OUT blocked pg_catalog.bool)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'jflow_pool_rows' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
CREATE FUNCTION jflow.replicas(
		OUT pid pg_catalog.int4, OUT flow pg_catalog.text, OUT executor pg_catalog.text,
		OUT shard pg_catalog.int4, OUT replica pg_catalog.int4, OUT state pg_catalog.text,
		OUT since pg_catalog.timestamptz, OUT endpoint pg_catalog.text, OUT post pg_catalog.int8,
		OUT request pg_catalog.int8, OUT requests pg_catalog.int8, OUT docs pg_catalog.int8,
		OUT errors pg_catalog.int8, OUT busy_ms pg_catalog.float8, OUT last_error pg_catalog.text,
		OUT started pg_catalog.timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'jflow_replica_rows' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
CREATE FUNCTION jflow.endpoints(
		OUT flow pg_catalog.text, OUT executor pg_catalog.text, OUT endpoint pg_catalog.text,
		OUT count pg_catalog.int8, OUT errors pg_catalog.int8, OUT docs pg_catalog.int8,
		OUT mean_ms pg_catalog.float8, OUT p50_ms pg_catalog.float8,
		OUT p95_ms pg_catalog.float8, OUT p99_ms pg_catalog.float8,
		OUT batches pg_catalog.int8, OUT batches_failed pg_catalog.int8, OUT batch_docs pg_catalog.float8)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'jflow_endpoint_rows' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
CREATE FUNCTION jflow.counters(
		OUT flow pg_catalog.text, OUT executor pg_catalog.text, OUT counter pg_catalog.text,
		OUT value pg_catalog.int8)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'jflow_counter_rows' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
CREATE FUNCTION jflow.metrics(
		OUT name pg_catalog.text, OUT type pg_catalog.text, OUT help pg_catalog.text,
		OUT labels pg_catalog.jsonb, OUT value pg_catalog.float8)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'jflow_metric_rows' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
CREATE FUNCTION jflow.requests(
		OUT slot pg_catalog.int4, OUT state pg_catalog.text, OUT flow pg_catalog.text,
		OUT executor pg_catalog.text, OUT request pg_catalog.int8, OUT abandoned pg_catalog.bool,
		OUT pid pg_catalog.int4, OUT role pg_catalog.text, OUT post pg_catalog.int8,
		OUT age pg_catalog.interval)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'jflow_request_rows' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
CREATE FUNCTION jflow.memory(
		OUT used pg_catalog.int8, OUT "limit" pg_catalog.int8, OUT peak pg_catalog.int8,
		OUT waiting pg_catalog.int4, OUT requests pg_catalog.int4, OUT max_requests pg_catalog.int4)
	RETURNS record
	AS 'MODULE_PATHNAME', 'jflow_memory_row' LANGUAGE C VOLATILE PARALLEL RESTRICTED;

CREATE FUNCTION @extschema@.jflow_stat_reset() RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION @extschema@.jflow_stat_reset() FROM PUBLIC;

CREATE FUNCTION @extschema@.jflow_config(
		OUT name pg_catalog.text, OUT value pg_catalog.text, OUT note pg_catalog.text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;

CREATE VIEW @extschema@.jflow_status WITH (security_barrier) AS
	SELECT e.flow, e.name AS executor, jflow.is_started(e.flow) AS started,
		CASE WHEN jflow.is_started(e.flow) THEN e.replicas * e.shards ELSE 0 END AS wanted,
		coalesce(p.running, 0) AS running, coalesce(p.starting, 0) AS starting,
		coalesce(p.failing, 0) AS failing, coalesce(p.queued, 0) AS queued,
		coalesce(p.last_error, CASE WHEN jflow.is_started(e.flow) AND e.replicas > 0
			AND coalesce(p.running, 0) = 0 THEN jflow.start_obstacle() END) AS last_error,
		CASE WHEN e.batch IS NOT NULL THEN (
			SELECT pg_catalog.sum(b.batch_docs * b.batches) / pg_catalog.sum(b.batches)::pg_catalog.float8
			FROM jflow.endpoints() b WHERE b.flow = e.flow AND b.executor = e.name) END AS batch_docs
	FROM jflow.executor e LEFT JOIN (
		SELECT flow, executor,
			(pg_catalog.sum(running) FILTER (WHERE shard IS NOT NULL))::pg_catalog.int4 AS running,
			(pg_catalog.sum(starting) FILTER (WHERE shard IS NOT NULL))::pg_catalog.int4 AS starting,
			pg_catalog.count(*) FILTER (WHERE blocked OR failures > 0)::pg_catalog.int4 AS failing,
			pg_catalog.sum(queued)::pg_catalog.int4 AS queued, pg_catalog.max(reason) AS last_error
		FROM jflow.pools() GROUP BY flow, executor) p
		ON p.flow = e.flow AND p.executor = e.name
	WHERE jflow.may_see(e.flow);

CREATE VIEW @extschema@.jflow_stat_replicas WITH (security_barrier) AS
	SELECT * FROM jflow.replicas() WHERE jflow.may_see(flow);
CREATE VIEW @extschema@.jflow_stat_endpoints WITH (security_barrier) AS
	SELECT * FROM jflow.endpoints() WHERE jflow.may_see(flow);
CREATE VIEW @extschema@.jflow_stat_counters WITH (security_barrier) AS
	SELECT * FROM jflow.counters() WHERE jflow.may_see(flow);
CREATE VIEW @extschema@.jflow_requests WITH (security_barrier) AS
	SELECT * FROM jflow.requests() WHERE flow IS NULL OR jflow.may_see(flow);
CREATE VIEW @extschema@.jflow_memory AS SELECT * FROM jflow.memory();

GRANT SELECT ON @extschema@.jflow_status, @extschema@.jflow_stat_replicas,
	@extschema@.jflow_stat_endpoints, @extschema@.jflow_stat_counters, @extschema@.jflow_requests, @extschema@.jflow_memory TO PUBLIC;
