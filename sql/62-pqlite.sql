-- PQLiteIndexer.  Where shards are: a row per leaf of an executor's table.

CREATE TABLE jflow.shard (
	flow pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	executor pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	shard pg_catalog.int4 NOT NULL CHECK (shard >= 0),
	"schema" pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	parent pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	"table" pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	field pg_catalog.text NOT NULL CHECK (field IN ('embedding', 'sparse_embedding')),
	metric pg_catalog.text NOT NULL CHECK (metric IN ('cosine', 'l2', 'ip')),
	state pg_catalog.text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'moving', 'settling')),
	"position" pg_catalog.text,
	moved_xid pg_catalog.int8,
	trained_pages pg_catalog.int8,
	due pg_catalog.bool NOT NULL DEFAULT false,
	PRIMARY KEY (flow, executor, shard),
	UNIQUE ("schema", "table")
);

SELECT pg_catalog.pg_extension_config_dump('jflow.shard', '');
GRANT SELECT ON jflow.shard TO pg_database_owner;

CREATE TRIGGER catalog_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.shard
	FOR EACH ROW EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_truncated AFTER TRUNCATE ON jflow.shard
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.catalog_changed();

CREATE FUNCTION jflow.pqlite_index(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_pqlite_index' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.pqlite_update(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_pqlite_update' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.pqlite_delete(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_pqlite_delete' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.pqlite_clear(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_pqlite_clear' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.pqlite_search(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_pqlite_search' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.pqlite_filter(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_pqlite_filter' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.pqlite_fetch(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_pqlite_fetch' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.pqlite_status(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_pqlite_status' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

INSERT INTO jflow.class (class, requests, polling, builtin) VALUES ('PQLiteIndexer', '{
	"/index": {"function": "jflow.pqlite_index", "idempotent": true},
	"/update": {"function": "jflow.pqlite_update", "idempotent": true},
	"/delete": {"function": "jflow.pqlite_delete", "idempotent": true},
	"/clear": {"function": "jflow.pqlite_clear", "idempotent": true},
	"/search": {"function": "jflow.pqlite_search", "idempotent": true, "writes": false},
	"/filter": {"function": "jflow.pqlite_filter", "idempotent": true, "writes": false},
	"/fetch": {"function": "jflow.pqlite_fetch", "idempotent": true, "writes": false},
	"/status": {"function": "jflow.pqlite_status", "idempotent": true, "writes": false}
}', '{"/update": "all", "/delete": "all", "/fetch": "all", "/filter": "all", "/status": "all", "/clear": "all"}', true);

-- Moving rows between shards; jflow_scale begins it.

CREATE FUNCTION jflow.reshard_step(
		flow pg_catalog.text, executor pg_catalog.text, batch pg_catalog.int4 DEFAULT 1000)
	RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME', 'jflow_reshard_step' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_reindex(
		flow pg_catalog.text, executor pg_catalog.text, index pg_catalog.text DEFAULT NULL)
	RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
