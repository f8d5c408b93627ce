-- Documents and matches.  The embedding types are pgvector's, whose schema
-- CREATE EXTENSION has put on the search path.

-- That they are pgvector's is checked: whoever may create types in the schema of
-- this extension could have put his own there, and C code reads their bytes.

DO $$
BEGIN
	IF (SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e
			ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
		WHERE e.extname = 'vector' AND d.deptype = 'e'
			AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
			AND d.objid IN ('vector'::pg_catalog.regtype, 'halfvec'::pg_catalog.regtype, 'sparsevec'::pg_catalog.regtype)) <> 3 THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_object_definition',
			MESSAGE = 'types "vector", "halfvec" and "sparsevec" are not those of extension "vector"',
			HINT = 'Drop types of these names from the schema that jflow is created in.';
	END IF;
END $$;

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
