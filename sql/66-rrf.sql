-- RRFRanker: one ranking of several branches'.

CREATE FUNCTION jflow.rrf_rank(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_rrf_rank' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

INSERT INTO jflow.class (class, requests, builtin) VALUES ('RRFRanker', '{
	"/search": {"function": "jflow.rrf_rank", "idempotent": true, "writes": false}
}', true);
