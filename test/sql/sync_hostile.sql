-- Does each function of syncs refuse bad input by a clear error, and leave nothing behind?
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE ROLE badsync_owner;
CREATE ROLE badsync_other;
CREATE SCHEMA badsync AUTHORIZATION badsync_owner;
SET search_path = badsync, public;
SET ROLE badsync_owner;
CREATE FUNCTION nothing(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT NULL::jflow_doc[]';
\pset format unaligned
\pset tuples_only on
SELECT jflow_create('badsync');
SELECT jflow_add('badsync', 'e', 'badsync.nothing', replicas => 0);
CREATE TABLE good (id int PRIMARY KEY, t text, "q""uote" text, at timestamptz DEFAULT now());
-- reports an error by SQLSTATE, message, detail and hint; what a server's version words otherwise is cut off
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; said text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', state || ' ' || left(said, 160), nullif(left(detail, 200), ''), nullif(left(hint, 200), ''));
END $$;
CREATE FUNCTION try_sync(columns text, more text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT try('SELECT jflow_sync(''s'', ''badsync'', ''good'', ' || coalesce(quote_literal(columns), 'NULL') || coalesce(', ' || more, '') || ')') $$;

-- names: missing, empty, too long by one byte, in bytes of several to a letter, quoted, with line ends
SELECT try(format('SELECT jflow_sync(%L, ''badsync'', ''good'', ''{"text": "t"}'')', name))
	FROM unnest(ARRAY[NULL, '', repeat('n', 64), repeat('ä', 32)]) name;
SELECT try('SELECT jflow_sync(''s'', NULL, ''good'', ''{"text": "t"}'')');
SELECT try(format('SELECT jflow_sync(''s'', %L, ''good'', ''{"text": "t"}'')', flow))
	FROM unnest(ARRAY['', 'no such flow', repeat('f', 64), 'it''s "a"' || E'\nflow', repeat('f', 1000000)]) flow;
SELECT try(format('SELECT %s(%L)', f, name))
	FROM unnest(ARRAY['jflow_unsync', 'jflow_sync_pause', 'jflow_sync_resume', 'jflow_sync_retry', 'jflow_sync_run', 'jflow_resync']) f,
		unnest(ARRAY[NULL, '', 'it''s "a"' || E'\nsync', repeat('n', 100000)]) name;
SELECT try('SELECT jflow_unsync(''s'', if_exists => NULL)');
SELECT try('SELECT jflow_unsync(NULL, if_exists => true)');
SELECT try('SELECT jflow_unsync(''s'', if_exists => true)');
-- sources
SELECT try(format('SELECT jflow_sync(''s'', ''badsync'', %s, ''{"text": "t"}'')', source))
	FROM unnest(ARRAY['NULL', '''no_such_table''', '0', '4294967295', '''pg_class''', '''jflow.sync''', '''jflow_sync_status''',
		'''good_pkey''', '''pg_toast.pg_toast_1255''', '''information_schema.tables''']) source;
-- columns
SELECT try_sync(columns) FROM unnest(ARRAY[NULL, 'null', '1', '"text"', '[]', '{}', '{"text": null}', '{"text": 1}', '{"text": ""}', '{"text": []}',
	'{"text": [null]}', '{"text": [["t"]]}', '{"text": {"t": "t"}}', '{"": "t"}', '{"txet": "t"}', '{"text": "tt"}', '{"text": "ctid"}', '{"text": "xmin"}',
	'{"id": "id"}', '{"matches": "t"}', '{"scores": "t"}', '{"uri": ["t", "at"]}', '{"embedding": "at"}',
	'{"text": "t\"; DROP TABLE good; --"}', '{"text": "q\"uote", "nope": "t"}', '{"te\nxt": "t"}', '{"tags": "t"']) columns;
SELECT try_sync(format('{"text": "%s"}', repeat('c', 100000)));
SELECT try_sync(format('{"text": [%s "t"]}', repeat('"t", ', 2000)));
-- other arguments
SELECT try_sync('{"text": "t"}', more) FROM unnest(ARRAY['id => ''''', 'id => ''t''', 'id => ''nope''', 'id => ''at''', 'id => ''ctid''', 'id => ''tableoid''', 'id => repeat(''i'', 64)',
	'endpoint => NULL', 'endpoint => ''''', 'endpoint => ''index''', 'endpoint => ''/'' || repeat(''e'', 1000)',
	'mode => NULL', 'mode => ''''', 'mode => ''LIVE''', 'mode => repeat(''m'', 100000)', 'batch => NULL', 'batch => 0', 'batch => -2147483648', 'batch => 10001',
	'retries => NULL', 'retries => -1', 'retries => 101']) more;
SELECT count(*) FROM jflow_sync_status;
-- none of that has left a trigger, or a row
SELECT tgname FROM pg_trigger WHERE tgrelid = 'good'::regclass;
RESET ROLE;
SELECT count(*) FROM jflow.sync; SELECT count(*) FROM jflow.sync_state; SELECT count(*) FROM jflow.sync_progress; SELECT count(*) FROM jflow.sync_queue;
SET ROLE badsync_owner;

-- more columns than a function has arguments, and a value that is none of the attribute
SELECT try('DO $do$ BEGIN EXECUTE (SELECT format(''CREATE TABLE wide (id int PRIMARY KEY, %s)'', string_agg(''c'' || i || '' int DEFAULT '' || i, '', '')) FROM generate_series(1, 120) i); END $do$');
SELECT try(format('SELECT jflow_sync(''s'', ''badsync'', ''wide'', %L, mode => ''immediate'')', jsonb_build_object('text', (SELECT jsonb_agg('c' || i) FROM generate_series(1, 100) i))));
SELECT try(format('SELECT jflow_sync(''s'', ''badsync'', ''wide'', %L, mode => ''immediate'')', jsonb_build_object('tags', (SELECT jsonb_agg('c' || i) FROM generate_series(1, 120) i))));
CREATE TABLE seen (id text, tags jsonb, weight float4);
CREATE OR REPLACE FUNCTION nothing(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO badsync.seen SELECT d.id, d.tags, d.weight FROM unnest(docs) d; RETURN NULL; END $$;
INSERT INTO wide (id) VALUES (1);
SELECT id, (SELECT count(*) FROM jsonb_object_keys(tags)), tags -> 'c50', tags -> 'c51', tags -> 'c120' FROM seen;
SELECT jflow_unsync('s');
SELECT try('SELECT jflow_sync(''s'', ''badsync'', ''good'', ''{"weight": "t"}'', mode => ''immediate'')');
SELECT try('INSERT INTO good VALUES (7, ''heavy'')');
SELECT try('INSERT INTO good VALUES (8, ''8'')');
SELECT id, weight FROM seen WHERE weight IS NOT NULL;
DELETE FROM good;
SELECT jflow_unsync('s');

-- names that are hostile, and good
SELECT try(format('SELECT jflow_sync(%L, ''badsync'', ''good'', %L, mode => ''immediate'')', E'it''s "a"\n' || repeat('ä', 20), '{"text": ["t", "q\"uote"], "tags": ["q\"uote", "at"]}'));
INSERT INTO good VALUES (1, E'a\nb', '"');
SELECT name, state, pending, failed FROM jflow_sync_status;
SELECT try(format('SELECT %s(%L%s)', f, E'it''s "a"\n' || repeat('ä', 20), more))
	FROM (VALUES ('jflow_sync', ', ''badsync'', ''good'', ''{"text": "t"}'''), ('jflow_sync_run', ', timeout => ''-1 s'''), ('jflow_sync_run', ', timeout => ''1 century'''),
		('jflow_sync_run', ', timeout => ''never'''), ('jflow_resync', ', uses_with => ''[]'''), ('jflow_resync', ', uses_with => ''1'''), ('jflow_resync', ', uses_with => ''{"nope": {}}'''),
		('jflow_resync', ', uses_with => ''{"e": 1}'''), ('jflow_resync', ', skip_failed => NULL')) v (f, more);
-- a second one of the table or the flow, and other roles
SELECT try('SELECT jflow_sync(''s'', ''badsync'', ''good'', ''{"text": "t"}'', mode => ''immediate'')');
RESET ROLE;
GRANT USAGE ON SCHEMA badsync TO badsync_other;
SET ROLE badsync_other;
SELECT count(*) FROM jflow_sync_status;
SELECT badsync.try(format('SELECT %s(%L%s)', f, E'it''s "a"\n' || repeat('ä', 20), more))
	FROM (VALUES ('jflow_sync', ', ''badsync'', ''badsync.good'', ''{"text": "t"}'''), ('jflow_unsync', ''), ('jflow_sync_run', ''), ('jflow_sync_pause', ''),
		('jflow_sync_resume', ''), ('jflow_sync_retry', ''), ('jflow_resync', '')) v (f, more);
SELECT badsync.try('SELECT jflow.sync_changed()');
SELECT badsync.try('INSERT INTO jflow.sync_queue VALUES (1, now(), ''1'')');
SELECT badsync.try('SELECT * FROM jflow.sync_row');
SELECT badsync.try('SELECT * FROM jflow.sync_flight');
SET ROLE badsync_owner;
SELECT badsync.try('CREATE TRIGGER t AFTER INSERT ON good FOR EACH ROW EXECUTE FUNCTION jflow.sync_changed(''1'', ''x'', ''queue'', ''1'', ''1'')');
-- numbers of nobody
SELECT jflow.sync_here(0), jflow.sync_here(-1), jflow.sync_here(2147483647), jflow.sync_here(NULL) IS NULL;
SELECT try('SELECT jflow_drop(''badsync'')');
SELECT count(*) FROM jflow_sync_status;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'good'::regclass;
RESET ROLE;
DROP SCHEMA badsync CASCADE;
DROP ROLE badsync_owner, badsync_other;
