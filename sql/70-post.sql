-- Posting documents to a flow.  The form with one text is an error that says what
-- to cast to; without it the parser would take an unknown literal for some other.

CREATE FUNCTION @extschema@.jflow_post(
		endpoint pg_catalog.text,
		docs @extschema@.jflow_doc[],
		flow pg_catalog.text DEFAULT NULL,
		parameters pg_catalog.jsonb DEFAULT '{}',
		target_executor pg_catalog.text DEFAULT NULL,
		request_size pg_catalog.int8 DEFAULT NULL,
		show_progress pg_catalog.bool DEFAULT false,
		continue_on_error pg_catalog.bool DEFAULT false,
		errors_to pg_catalog.regclass DEFAULT NULL,
		timeout pg_catalog.interval DEFAULT NULL,
		ordered pg_catalog.bool DEFAULT true)
	RETURNS SETOF @extschema@.jflow_doc
	AS 'MODULE_PATHNAME', 'jflow_post_docs' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_post(
		endpoint pg_catalog.text,
		docs pg_catalog.text[],
		flow pg_catalog.text DEFAULT NULL,
		parameters pg_catalog.jsonb DEFAULT '{}',
		target_executor pg_catalog.text DEFAULT NULL,
		request_size pg_catalog.int8 DEFAULT NULL,
		show_progress pg_catalog.bool DEFAULT false,
		continue_on_error pg_catalog.bool DEFAULT false,
		errors_to pg_catalog.regclass DEFAULT NULL,
		timeout pg_catalog.interval DEFAULT NULL,
		ordered pg_catalog.bool DEFAULT true)
	RETURNS SETOF @extschema@.jflow_doc
	AS 'MODULE_PATHNAME', 'jflow_post_texts' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_post(
		endpoint pg_catalog.text,
		docs pg_catalog.text,
		flow pg_catalog.text DEFAULT NULL,
		parameters pg_catalog.jsonb DEFAULT '{}',
		target_executor pg_catalog.text DEFAULT NULL,
		request_size pg_catalog.int8 DEFAULT NULL,
		show_progress pg_catalog.bool DEFAULT false,
		continue_on_error pg_catalog.bool DEFAULT false,
		errors_to pg_catalog.regclass DEFAULT NULL,
		timeout pg_catalog.interval DEFAULT NULL,
		ordered pg_catalog.bool DEFAULT true)
	RETURNS SETOF @extschema@.jflow_doc
	AS 'MODULE_PATHNAME', 'jflow_post_text' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_post(
		endpoint pg_catalog.text,
		docs pg_catalog.jsonb,
		flow pg_catalog.text DEFAULT NULL,
		parameters pg_catalog.jsonb DEFAULT '{}',
		target_executor pg_catalog.text DEFAULT NULL,
		request_size pg_catalog.int8 DEFAULT NULL,
		show_progress pg_catalog.bool DEFAULT false,
		continue_on_error pg_catalog.bool DEFAULT false,
		errors_to pg_catalog.regclass DEFAULT NULL,
		timeout pg_catalog.interval DEFAULT NULL,
		ordered pg_catalog.bool DEFAULT true)
	RETURNS SETOF @extschema@.jflow_doc
	AS 'MODULE_PATHNAME', 'jflow_post_jsonb' LANGUAGE C VOLATILE PARALLEL UNSAFE;

-- A driver that binds JSON as json finds no cast to jsonb that the parser would take.
CREATE FUNCTION @extschema@.jflow_post(
		endpoint pg_catalog.text,
		docs pg_catalog.json,
		flow pg_catalog.text DEFAULT NULL,
		parameters pg_catalog.jsonb DEFAULT '{}',
		target_executor pg_catalog.text DEFAULT NULL,
		request_size pg_catalog.int8 DEFAULT NULL,
		show_progress pg_catalog.bool DEFAULT false,
		continue_on_error pg_catalog.bool DEFAULT false,
		errors_to pg_catalog.regclass DEFAULT NULL,
		timeout pg_catalog.interval DEFAULT NULL,
		ordered pg_catalog.bool DEFAULT true)
	RETURNS SETOF @extschema@.jflow_doc
	AS 'MODULE_PATHNAME', 'jflow_post_json' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_post_query(
		endpoint pg_catalog.text,
		query pg_catalog.text,
		flow pg_catalog.text DEFAULT NULL,
		parameters pg_catalog.jsonb DEFAULT '{}',
		target_executor pg_catalog.text DEFAULT NULL,
		request_size pg_catalog.int8 DEFAULT NULL,
		show_progress pg_catalog.bool DEFAULT false,
		continue_on_error pg_catalog.bool DEFAULT false,
		errors_to pg_catalog.regclass DEFAULT NULL,
		timeout pg_catalog.interval DEFAULT NULL,
		ordered pg_catalog.bool DEFAULT true,
		args pg_catalog.jsonb DEFAULT NULL,
		OUT docs pg_catalog.int8,
		OUT requests pg_catalog.int8,
		OUT failed pg_catalog.int8,
		OUT failed_docs pg_catalog.int8,
		OUT elapsed pg_catalog.interval)
	RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_call(
		endpoint pg_catalog.text,
		docs pg_catalog.jsonb,
		flow pg_catalog.text DEFAULT NULL,
		parameters pg_catalog.jsonb DEFAULT '{}')
	RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_explain(
		endpoint pg_catalog.text,
		docs pg_catalog.jsonb,
		flow pg_catalog.text DEFAULT NULL,
		parameters pg_catalog.jsonb DEFAULT '{}',
		OUT request pg_catalog.int8,
		OUT executor pg_catalog.text,
		OUT shard pg_catalog.int4,
		OUT replica pg_catalog.int4,
		OUT docs_in pg_catalog.int4,
		OUT docs_out pg_catalog.int4,
		OUT queue_ms pg_catalog.float8,
		OUT run_ms pg_catalog.float8,
		OUT hop_ms pg_catalog.float8,
		OUT plan pg_catalog.text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_search(
		query pg_catalog.text,
		k pg_catalog.int8 DEFAULT 10,
		flow pg_catalog.text DEFAULT NULL,
		filter pg_catalog.jsonb DEFAULT NULL,
		parameters pg_catalog.jsonb DEFAULT '{}')
	RETURNS SETOF @extschema@.jflow_match
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.jflow_search_json(
		query pg_catalog.text,
		k pg_catalog.int8 DEFAULT 10,
		flow pg_catalog.text DEFAULT NULL,
		filter pg_catalog.jsonb DEFAULT NULL,
		parameters pg_catalog.jsonb DEFAULT '{}')
	RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED;

CREATE FUNCTION jflow.progress(
		OUT post pg_catalog.int8,
		OUT pid pg_catalog.int4,
		OUT flow pg_catalog.text,
		OUT endpoint pg_catalog.text,
		OUT steps_done pg_catalog.int8,
		OUT steps_total pg_catalog.int8,
		OUT docs pg_catalog.int8,
		OUT failed pg_catalog.int8,
		OUT docs_per_second pg_catalog.float8,
		OUT started pg_catalog.timestamptz,
		OUT elapsed pg_catalog.interval)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'jflow_progress_rows' LANGUAGE C VOLATILE PARALLEL RESTRICTED;

CREATE VIEW @extschema@.jflow_progress AS
	SELECT post, pid, flow, endpoint, steps_done, steps_total, docs, failed,
		docs_per_second, started, elapsed
	FROM jflow.progress();

GRANT SELECT ON @extschema@.jflow_progress TO PUBLIC;
