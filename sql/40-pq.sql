-- The pq index access method; see docs/pq-index.md.

CREATE FUNCTION jflow.pq_handler(internal) RETURNS pg_catalog.index_am_handler
	AS 'MODULE_PATHNAME', 'jflow_pq_handler' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;

CREATE ACCESS METHOD pq TYPE INDEX HANDLER jflow.pq_handler;
COMMENT ON ACCESS METHOD pq IS 'inverted lists of product-quantized vectors';

CREATE FUNCTION jflow.pq_vector_l2(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_vector_l2' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.vector_l2_ops FOR TYPE vector USING pq AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 l2_distance(vector, vector),
	FUNCTION 2 jflow.pq_vector_l2(internal);

CREATE FUNCTION jflow.pq_vector_ip(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_vector_ip' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.vector_ip_ops FOR TYPE vector USING pq AS
	OPERATOR 1 <#> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 vector_negative_inner_product(vector, vector),
	FUNCTION 2 jflow.pq_vector_ip(internal);

CREATE FUNCTION jflow.pq_vector_cosine(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_vector_cosine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.vector_cosine_ops FOR TYPE vector USING pq AS
	OPERATOR 1 <=> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 cosine_distance(vector, vector),
	FUNCTION 2 jflow.pq_vector_cosine(internal);

CREATE FUNCTION jflow.pq_halfvec_l2(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_halfvec_l2' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.halfvec_l2_ops FOR TYPE halfvec USING pq AS
	OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 l2_distance(halfvec, halfvec),
	FUNCTION 2 jflow.pq_halfvec_l2(internal);

CREATE FUNCTION jflow.pq_halfvec_ip(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_halfvec_ip' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.halfvec_ip_ops FOR TYPE halfvec USING pq AS
	OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 halfvec_negative_inner_product(halfvec, halfvec),
	FUNCTION 2 jflow.pq_halfvec_ip(internal);

CREATE FUNCTION jflow.pq_halfvec_cosine(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_halfvec_cosine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.halfvec_cosine_ops FOR TYPE halfvec USING pq AS
	OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 cosine_distance(halfvec, halfvec),
	FUNCTION 2 jflow.pq_halfvec_cosine(internal);

CREATE FUNCTION jflow.pq_sparsevec_l2(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_sparsevec_l2' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.sparsevec_l2_ops FOR TYPE sparsevec USING pq AS
	OPERATOR 1 <-> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 l2_distance(sparsevec, sparsevec),
	FUNCTION 2 jflow.pq_sparsevec_l2(internal);

CREATE FUNCTION jflow.pq_sparsevec_ip(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_sparsevec_ip' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.sparsevec_ip_ops FOR TYPE sparsevec USING pq AS
	OPERATOR 1 <#> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 sparsevec_negative_inner_product(sparsevec, sparsevec),
	FUNCTION 2 jflow.pq_sparsevec_ip(internal);

CREATE FUNCTION jflow.pq_sparsevec_cosine(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_sparsevec_cosine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.sparsevec_cosine_ops FOR TYPE sparsevec USING pq AS
	OPERATOR 1 <=> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 cosine_distance(sparsevec, sparsevec),
	FUNCTION 2 jflow.pq_sparsevec_cosine(internal);

CREATE FUNCTION jflow.pq_vector_l1(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_vector_l1' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.vector_l1_ops FOR TYPE vector USING pq AS
	OPERATOR 1 <+> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 l1_distance(vector, vector),
	FUNCTION 2 jflow.pq_vector_l1(internal);

CREATE FUNCTION jflow.pq_halfvec_l1(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_halfvec_l1' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.halfvec_l1_ops FOR TYPE halfvec USING pq AS
	OPERATOR 1 <+> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 l1_distance(halfvec, halfvec),
	FUNCTION 2 jflow.pq_halfvec_l1(internal);

CREATE FUNCTION jflow.pq_sparsevec_l1(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'jflow_pq_sparsevec_l1' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE OPERATOR CLASS @extschema@.sparsevec_l1_ops FOR TYPE sparsevec USING pq AS
	OPERATOR 1 <+> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 l1_distance(sparsevec, sparsevec),
	FUNCTION 2 jflow.pq_sparsevec_l1(internal);
