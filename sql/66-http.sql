-- HttpExecutor: models behind HTTP.

CREATE FUNCTION jflow.http_validator(options pg_catalog.text[], catalog pg_catalog.oid)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'jflow_http_validator' LANGUAGE C STRICT PARALLEL SAFE;

CREATE FOREIGN DATA WRAPPER jflow_http NO HANDLER VALIDATOR jflow.http_validator;

CREATE FUNCTION jflow.http_call(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_http_call' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

-- what is no text for a model passes unchanged
INSERT INTO jflow.class (class, requests, builtin) VALUES ('HttpExecutor', '{
	"/clear": {}, "/delete": {}, "/fetch": {}, "/filter": {}, "/status": {},
	"*": {"function": "jflow.http_call", "idempotent": true, "writes": false}
}', true);
