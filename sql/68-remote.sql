-- RemoteFlow: executors that are flows on other servers.

CREATE FUNCTION jflow.remote_call(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_remote_call' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

-- What reads must not write on the other server either, so it can be asked from a
-- read-only transaction.
INSERT INTO jflow.class (class, requests, polling, builtin) VALUES ('RemoteFlow', '{
	"/index": {"function": "jflow.remote_call", "idempotent": true},
	"/update": {"function": "jflow.remote_call", "idempotent": true},
	"/delete": {"function": "jflow.remote_call", "idempotent": true},
	"/clear": {"function": "jflow.remote_call", "idempotent": true},
	"/search": {"function": "jflow.remote_call", "idempotent": true, "writes": false},
	"/filter": {"function": "jflow.remote_call", "idempotent": true, "writes": false},
	"/fetch": {"function": "jflow.remote_call", "idempotent": true, "writes": false},
	"/status": {"function": "jflow.remote_call", "idempotent": true, "writes": false},
	"*": "jflow.remote_call"
}', '{"/index": "hash", "*": "all"}', true);

-- Where documents of an executor are being moved between servers, how far that is: of
-- the move that uses_with tells of.  It is not dumped: what is restored begins anew.

CREATE TABLE jflow.remote_move (
	flow pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	executor pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	stage pg_catalog.text NOT NULL CHECK (stage IN ('lock', 'wait', 'copy', 'settle', 'delete')),
	since pg_catalog.int8 NOT NULL,
	node pg_catalog.text,
	"position" pg_catalog.text,
	uses_with pg_catalog.jsonb NOT NULL,
	PRIMARY KEY (flow, executor)
);

-- The other side: posts as whoever calls it.  The options say the version of this
-- protocol, the flows that the post has come through, whether it only reads, how many
-- milliseconds it has, whether it is for the executor that stores alone, and whether
-- ids are enough of an answer.
CREATE FUNCTION jflow.remote_post(
		endpoint pg_catalog.text, docs @extschema@.jflow_doc[], flow pg_catalog.text,
		parameters pg_catalog.jsonb, options pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_remote_post' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
