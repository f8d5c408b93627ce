-- Shared codebooks.  Only jflow.store_codebook() writes them, and for others
-- than the owner only where the name is free.

CREATE TABLE jflow.codebook (
	codebook pg_catalog.text COLLATE pg_catalog."C" PRIMARY KEY,
	owner pg_catalog.text NOT NULL,
	model pg_catalog.bytea NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('jflow.codebook', '');
GRANT SELECT ON jflow.codebook TO PUBLIC;

CREATE FUNCTION jflow.store_codebook(codebook pg_catalog.text, model pg_catalog.bytea) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- whom SET ROLE made the caller; current_user is the extension's owner here
	me text := CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END;
BEGIN
	INSERT INTO jflow.codebook AS c VALUES (store_codebook.codebook, me, store_codebook.model)
		ON CONFLICT ON CONSTRAINT codebook_pkey DO UPDATE SET model = EXCLUDED.model WHERE c.owner = me;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'codebook "%" belongs to another role', codebook USING ERRCODE = 'insufficient_privilege';
	END IF;
END
$$;

CREATE FUNCTION @extschema@.jflow_train(codebook pg_catalog.text, query pg_catalog.text,
	metric pg_catalog.text DEFAULT 'l2', lists pg_catalog.int4 DEFAULT 0, subvectors pg_catalog.int4 DEFAULT 0)
	RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
