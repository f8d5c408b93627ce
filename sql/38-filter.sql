CREATE FUNCTION @extschema@.jflow_matches_filter(
		doc @extschema@.jflow_doc, filter pg_catalog.jsonb)
	RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

