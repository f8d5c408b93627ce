-- Building documents, and documents as JSON.  The casts are by assignment: they
-- lose nothing, but must not compete with others when overloads are resolved.

CREATE FUNCTION @extschema@.jflow_doc(
		id pg_catalog.text DEFAULT NULL,
		text pg_catalog.text DEFAULT NULL,
		blob pg_catalog.bytea DEFAULT NULL,
		uri pg_catalog.text DEFAULT NULL,
		mime_type pg_catalog.text DEFAULT NULL,
		tags pg_catalog.jsonb DEFAULT NULL,
		embedding vector DEFAULT NULL,
		sparse_embedding sparsevec DEFAULT NULL,
		parent_id pg_catalog.text DEFAULT NULL,
		granularity pg_catalog.int2 DEFAULT NULL,
		scores pg_catalog.jsonb DEFAULT NULL,
		weight pg_catalog.float4 DEFAULT NULL,
		matches @extschema@.jflow_match[] DEFAULT NULL)
	RETURNS @extschema@.jflow_doc
	AS 'MODULE_PATHNAME', 'jflow_doc_make' LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION jflow.doc_to_jsonb(@extschema@.jflow_doc) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'jflow_doc_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION jflow.jsonb_to_doc(pg_catalog.jsonb) RETURNS @extschema@.jflow_doc
	AS 'MODULE_PATHNAME', 'jflow_jsonb_doc' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION jflow.jsonb_to_docs(pg_catalog.jsonb) RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_jsonb_docs' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION jflow.match_to_jsonb(@extschema@.jflow_match) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'jflow_match_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION jflow.jsonb_to_match(pg_catalog.jsonb) RETURNS @extschema@.jflow_match
	AS 'MODULE_PATHNAME', 'jflow_jsonb_match' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE CAST (@extschema@.jflow_doc AS pg_catalog.jsonb)
	WITH FUNCTION jflow.doc_to_jsonb(@extschema@.jflow_doc) AS ASSIGNMENT;
CREATE CAST (pg_catalog.jsonb AS @extschema@.jflow_doc)
	WITH FUNCTION jflow.jsonb_to_doc(pg_catalog.jsonb) AS ASSIGNMENT;
CREATE CAST (pg_catalog.jsonb AS @extschema@.jflow_doc[])
	WITH FUNCTION jflow.jsonb_to_docs(pg_catalog.jsonb) AS ASSIGNMENT;
CREATE CAST (@extschema@.jflow_match AS pg_catalog.jsonb)
	WITH FUNCTION jflow.match_to_jsonb(@extschema@.jflow_match) AS ASSIGNMENT;
CREATE CAST (pg_catalog.jsonb AS @extschema@.jflow_match)
	WITH FUNCTION jflow.jsonb_to_match(pg_catalog.jsonb) AS ASSIGNMENT;
