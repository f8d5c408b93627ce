-- Functions around pq indexes.

CREATE FUNCTION @extschema@.jflow_pq_info(index pg_catalog.regclass,
	OUT version pg_catalog.int4, OUT type pg_catalog.text, OUT metric pg_catalog.text,
	OUT dims pg_catalog.int4, OUT inner_dims pg_catalog.int4, OUT lists pg_catalog.int4,
	OUT subvectors pg_catalog.int4, OUT tuples pg_catalog.int8, OUT dead pg_catalog.int8,
	OUT built_tuples pg_catalog.int8, OUT imbalance pg_catalog.float8, OUT pages pg_catalog.int8,
	OUT bytes pg_catalog.int8, OUT codebook pg_catalog.text, OUT calibration pg_catalog.jsonb,
	OUT generation pg_catalog.int4, OUT drift pg_catalog.float8, OUT outliers pg_catalog.int8,
	OUT due pg_catalog.bool, OUT unlike pg_catalog.jsonb)
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION @extschema@.jflow_pq_check(index pg_catalog.regclass) RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION @extschema@.jflow_pq_recall(index pg_catalog.regclass,
	queries pg_catalog.int4 DEFAULT 100, k pg_catalog.int4 DEFAULT 10) RETURNS pg_catalog.float8
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION @extschema@.jflow_pq_calibrate(index pg_catalog.regclass, query pg_catalog.text) RETURNS pg_catalog.int4
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION @extschema@.jflow_pq_kernels() RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
CREATE FUNCTION @extschema@.jflow_pq_kmeans() RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;

-- Shared codebooks, by name and role.  Only jflow_train() writes them, since a model is trusted to be one,
-- and only builds of indexes read them.

CREATE TABLE jflow.codebook (
	codebook pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	owner pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	model pg_catalog.bytea NOT NULL,
	PRIMARY KEY (codebook, owner)
);
SELECT pg_catalog.pg_extension_config_dump('jflow.codebook', '');
GRANT SELECT ON jflow.codebook TO pg_database_owner;

CREATE FUNCTION @extschema@.jflow_train(codebook pg_catalog.text, query pg_catalog.text,
	metric pg_catalog.text DEFAULT 'l2', lists pg_catalog.int4 DEFAULT 0, subvectors pg_catalog.int4 DEFAULT 0)
	RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
