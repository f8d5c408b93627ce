-- Functions around inverted indexes.

CREATE FUNCTION @extschema@.jflow_inverted_info(index pg_catalog.regclass,
	OUT version pg_catalog.int4, OUT metric pg_catalog.text, OUT dims pg_catalog.int4,
	OUT tuples pg_catalog.int8, OUT dead pg_catalog.int8, OUT pending pg_catalog.int8,
	OUT segments pg_catalog.int4, OUT terms pg_catalog.int8, OUT postings pg_catalog.int8,
	OUT retired pg_catalog.int4, OUT pages pg_catalog.int8, OUT bytes pg_catalog.int8)
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION @extschema@.jflow_inverted_check(index pg_catalog.regclass) RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
