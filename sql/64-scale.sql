-- Moving rows between shards; jflow_scale begins it.

CREATE FUNCTION jflow.reshard_step(
		flow pg_catalog.text, executor pg_catalog.text, batch pg_catalog.int4 DEFAULT 1000)
	RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME', 'jflow_reshard_step' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
