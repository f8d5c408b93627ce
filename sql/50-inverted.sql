-- The inverted index access method; see docs/inverted.md.

CREATE FUNCTION jflow.inverted_handler(internal) RETURNS pg_catalog.index_am_handler
	AS 'MODULE_PATHNAME', 'jflow_inverted_handler' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;

CREATE ACCESS METHOD inverted TYPE INDEX HANDLER jflow.inverted_handler;
COMMENT ON ACCESS METHOD inverted IS 'inverted lists of sparse vectors';

CREATE FUNCTION jflow.inverted_ip(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_inverted_ip' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.sparsevec_ip_ops FOR TYPE sparsevec USING inverted AS
	OPERATOR 1 <#> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 sparsevec_negative_inner_product(sparsevec, sparsevec),
	FUNCTION 2 jflow.inverted_ip(internal);

CREATE FUNCTION jflow.inverted_cosine(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_inverted_cosine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.sparsevec_cosine_ops FOR TYPE sparsevec USING inverted AS
	OPERATOR 1 <=> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 cosine_distance(sparsevec, sparsevec),
	FUNCTION 2 jflow.inverted_cosine(internal);
