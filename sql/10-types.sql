-- Documents and matches.  The embedding types are pgvector's, whose schema
-- CREATE EXTENSION has put on the search path.

CREATE TYPE @extschema@.jflow_match AS (
	id pg_catalog.text,
	score pg_catalog.float8,
	text pg_catalog.text,
	uri pg_catalog.text,
	tags pg_catalog.jsonb
);

CREATE TYPE @extschema@.jflow_doc AS (
	id pg_catalog.text,
	text pg_catalog.text,
	blob pg_catalog.bytea,
	uri pg_catalog.text,
	mime_type pg_catalog.text,
	tags pg_catalog.jsonb,
	embedding vector,
	sparse_embedding sparsevec,
	parent_id pg_catalog.text,
	granularity pg_catalog.int2,
	scores pg_catalog.jsonb,
	weight pg_catalog.float4,
	matches @extschema@.jflow_match[]
);

