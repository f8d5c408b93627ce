-- Defining flows.

CREATE FUNCTION @extschema@.jflow_create(
		flow pg_catalog.text, description pg_catalog.text DEFAULT NULL)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_add(
		flow pg_catalog.text,
		name pg_catalog.text,
		uses pg_catalog.text DEFAULT 'BaseExecutor',
		uses_with pg_catalog.jsonb DEFAULT '{}',
		requests pg_catalog.jsonb DEFAULT NULL,
		needs pg_catalog.text[] DEFAULT NULL,
		replicas pg_catalog.int4 DEFAULT 1,
		shards pg_catalog.int4 DEFAULT 1,
		polling pg_catalog.jsonb DEFAULT NULL,
		workspace pg_catalog.text DEFAULT NULL,
		"when" pg_catalog.jsonb DEFAULT NULL,
		uses_before pg_catalog.text DEFAULT NULL,
		uses_after pg_catalog.text DEFAULT NULL,
		timeout pg_catalog.interval DEFAULT NULL,
		retries pg_catalog.int4 DEFAULT NULL,
		floating pg_catalog.bool DEFAULT false,
		disable_reduce pg_catalog.bool DEFAULT false,
		batch pg_catalog.jsonb DEFAULT NULL)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_remove(flow pg_catalog.text, name pg_catalog.text)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_drop(
		flow pg_catalog.text,
		if_exists pg_catalog.bool DEFAULT false,
		drop_data pg_catalog.bool DEFAULT false)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_grant(
		flow pg_catalog.text, role pg_catalog.regrole, endpoints pg_catalog.text[] DEFAULT NULL)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_revoke(
		flow pg_catalog.text, role pg_catalog.regrole, endpoints pg_catalog.text[] DEFAULT NULL)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_adopt(name pg_catalog.text, role pg_catalog.regrole)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_define(class pg_catalog.text, requests pg_catalog.jsonb)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_undefine(class pg_catalog.text)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_context(
		OUT flow pg_catalog.text,
		OUT executor pg_catalog.text,
		OUT endpoint pg_catalog.text,
		OUT shard pg_catalog.int4,
		OUT shards pg_catalog.int4,
		OUT replica pg_catalog.int4,
		OUT replicas pg_catalog.int4,
		OUT uses_with pg_catalog.jsonb,
		OUT workspace pg_catalog.text,
		OUT post pg_catalog.int8,
		OUT request pg_catalog.int8,
		OUT parts pg_catalog.int4[],
		OUT part pg_catalog.int4)
	RETURNS record
	AS 'MODULE_PATHNAME', 'jflow_context_row' LANGUAGE C STABLE PARALLEL RESTRICTED;

-- What a role may see of the flows it may use; uses_with is for owners only,
-- since it can hold secrets.
CREATE FUNCTION jflow.may_post(flow pg_catalog.text) RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME', 'jflow_may_post_sql' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION jflow.may_see(flow pg_catalog.text) RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME', 'jflow_may_see_sql' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION jflow.role_now(name pg_catalog.text) RETURNS pg_catalog.text
	AS 'MODULE_PATHNAME', 'jflow_role_now' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION jflow.is_owner(flow pg_catalog.text) RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME', 'jflow_is_owner_sql' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;

CREATE FUNCTION jflow.may_use_class(owner pg_catalog.text) RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME', 'jflow_may_use_class_sql' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;

CREATE VIEW @extschema@.jflow_classes WITH (security_barrier) AS
	SELECT c.class, CASE WHEN NOT c.builtin THEN jflow.role_now(c.owner) END AS owner,
		c.builtin, c.requests, c.polling
	FROM jflow.class c
	WHERE jflow.may_use_class(c.owner) OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');

CREATE VIEW @extschema@.jflow_flows WITH (security_barrier) AS
	SELECT f.flow, jflow.role_now(f.owner) AS owner, f.description, f.created
	FROM jflow.flow f
	WHERE jflow.may_see(f.flow);

CREATE VIEW @extschema@.jflow_grants WITH (security_barrier) AS
	SELECT g.flow, jflow.role_now(g.grantee) AS role,
		CASE WHEN NOT pg_catalog.bool_or(g.endpoint = '*')
			THEN pg_catalog.array_agg(g.endpoint ORDER BY g.endpoint) END AS endpoints
	FROM jflow.flow_grant g
	WHERE jflow.is_owner(g.flow) OR pg_catalog.pg_has_role('pg_monitor', 'USAGE')
		OR EXISTS (SELECT FROM pg_catalog.pg_roles r
			WHERE r.rolname = jflow.role_now(g.grantee) AND pg_catalog.pg_has_role(r.oid, 'USAGE'))
	GROUP BY g.flow, g.grantee;

CREATE VIEW @extschema@.jflow_executors WITH (security_barrier) AS
	SELECT e.flow, e.name, e."position", e.uses, e.class_owner,
		CASE WHEN jflow.is_owner(e.flow) THEN e.uses_with END AS uses_with,
		e.requests, e.needs, e.replicas, e.shards, e.polling, e.workspace, e."when",
		e.uses_before, e.uses_after, e.timeout, e.retries, e.floating, e.disable_reduce, e.batch
	FROM jflow.executor e
	WHERE jflow.may_see(e.flow);

GRANT SELECT ON @extschema@.jflow_classes, @extschema@.jflow_flows, @extschema@.jflow_grants, @extschema@.jflow_executors TO PUBLIC;

-- Whole flows as one document, and as a picture.

CREATE FUNCTION @extschema@.jflow_load(config pg_catalog.jsonb) RETURNS pg_catalog.text
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_load_yaml(config pg_catalog.text) RETURNS pg_catalog.text
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_yaml(config pg_catalog.text) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION @extschema@.jflow_save(flow pg_catalog.text) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION @extschema@.jflow_save_yaml(flow pg_catalog.text) RETURNS pg_catalog.text
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;

CREATE FUNCTION @extschema@.jflow_plot(
		flow pg_catalog.text, format pg_catalog.text DEFAULT 'mermaid')
	RETURNS pg_catalog.text
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;

CREATE FUNCTION @extschema@.jflow_matches_filter(
		doc @extschema@.jflow_doc, filter pg_catalog.jsonb)
	RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
