-- Numbers of replicas and shards, and moving rows between shards.

CREATE FUNCTION @extschema@.jflow_scale(
		flow pg_catalog.text,
		executor pg_catalog.text,
		replicas pg_catalog.int4 DEFAULT NULL,
		shards pg_catalog.int4 DEFAULT NULL)
	RETURNS pg_catalog.int4
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION jflow.reshard_step(
		flow pg_catalog.text, executor pg_catalog.text, batch pg_catalog.int4 DEFAULT 1000)
	RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME', 'jflow_reshard_step' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
