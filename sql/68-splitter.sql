-- TextSplitter: documents become chunks of their texts.

CREATE FUNCTION jflow.split(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_split' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

-- queries and ids are not split
INSERT INTO jflow.class (class, requests, builtin) VALUES ('TextSplitter', '{
	"/clear": {}, "/delete": {}, "/fetch": {}, "/filter": {}, "/search": {}, "/status": {}, "/update": {},
	"*": {"function": "jflow.split", "idempotent": true, "writes": false}
}', true);
