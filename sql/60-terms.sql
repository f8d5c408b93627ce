-- Texts as vectors of terms: TfidfVectorizer and BM25Vectorizer.

CREATE TABLE jflow.model (
	flow pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	executor pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	version pg_catalog.int8 NOT NULL,
	options pg_catalog.jsonb NOT NULL,
	docs pg_catalog.int8 NOT NULL CHECK (docs >= 0),
	terms pg_catalog.int4 NOT NULL CHECK (terms > 0),
	fitted pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	model pg_catalog.bytea NOT NULL,
	PRIMARY KEY (flow, executor)
);

SELECT pg_catalog.pg_extension_config_dump('jflow.model', '');
GRANT SELECT ON jflow.model TO pg_database_owner;

-- What the requests of a running fit have counted.
CREATE TABLE jflow.model_part (
	flow pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	executor pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	post pg_catalog.int8 NOT NULL,
	request pg_catalog.int8 NOT NULL,
	created pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	part pg_catalog.bytea NOT NULL,
	PRIMARY KEY (flow, executor, post, request)
);

CREATE TRIGGER catalog_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.model
	FOR EACH ROW EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_truncated AFTER TRUNCATE ON jflow.model
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.catalog_changed();

CREATE FUNCTION jflow.tfidf_transform(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_tfidf_transform' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.bm25_transform(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_bm25_transform' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.bm25_status(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_bm25_status' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.term_fit(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_term_fit' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION jflow.term_fit_finish(docs @extschema@.jflow_doc[], parameters pg_catalog.jsonb)
	RETURNS @extschema@.jflow_doc[]
	AS 'MODULE_PATHNAME', 'jflow_term_fit_finish' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

INSERT INTO jflow.class (class, requests, builtin) VALUES ('TfidfVectorizer', '{
	"/fit": {"function": "jflow.term_fit", "finish": "jflow.term_fit_finish"},
	"*": {"function": "jflow.tfidf_transform", "idempotent": true, "writes": false}
}', true), ('BM25Vectorizer', '{
	"/fit": {"function": "jflow.term_fit", "finish": "jflow.term_fit_finish"},
	"/status": {"function": "jflow.bm25_status", "idempotent": true, "writes": false},
	"*": {"function": "jflow.bm25_transform", "idempotent": true, "writes": false}
}', true);

CREATE FUNCTION @extschema@.jflow_fit(
		flow pg_catalog.text, executor pg_catalog.text, query pg_catalog.text,
		incremental pg_catalog.bool DEFAULT false,
		OUT docs pg_catalog.int8, OUT terms pg_catalog.int4)
	RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_terms(
		flow pg_catalog.text, executor pg_catalog.text,
		OUT index pg_catalog.int4, OUT term pg_catalog.text, OUT idf pg_catalog.float8)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
