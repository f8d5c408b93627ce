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
