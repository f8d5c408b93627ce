-- Is every value that reaches C of the type that C takes it for, whatever types are called and wherever they are?
SET client_min_messages = warning;
CREATE SCHEMA types_enum;
CREATE TYPE types_enum.vector AS ENUM ('a');
CREATE SCHEMA types_domain;
CREATE DOMAIN types_domain.vector AS int8;
CREATE DOMAIN types_domain.text AS int8;
CREATE TYPE types_domain.halfvec AS (a int);
CREATE TYPE types_domain.sparsevec AS RANGE (SUBTYPE = int4);
CREATE DOMAIN types_domain.unit AS vector(2) CHECK (vector_norm(VALUE) < 2);
CREATE DOMAIN types_domain.unit_of_unit AS types_domain.unit NOT NULL;

-- training
SELECT jflow_train('x', $$SELECT 'a'::types_enum.vector$$);
SELECT jflow_train('x', $$SELECT 4711::types_domain.vector$$);
SELECT jflow_train('x', $$SELECT ROW(1)::types_domain.halfvec$$);
SELECT jflow_train('x', $$SELECT '[1,2]'::types_domain.sparsevec$$);
SELECT jflow_train('x', $$SELECT ARRAY['[1]'::vector]$$);
SELECT jflow_train('x', $$SELECT ROW('[1]'::vector)$$);
SELECT jflow_train('x', $$SELECT '[1]'$$);
SELECT jflow_train('x', $$SELECT '\x00'::bytea$$);
SELECT jflow_train('x', $$SELECT '[1,1]'::types_domain.unit_of_unit FROM generate_series(1, 100)$$);
DELETE FROM jflow.codebook;

-- indexes: of a domain, which tells the dimensions, and of an expression
CREATE TABLE types_items (id int, e types_domain.unit_of_unit);
INSERT INTO types_items SELECT i, ARRAY[1.0 / i, 1]::vector FROM generate_series(1, 20) i;
CREATE INDEX types_items_e ON types_items USING pq (e vector_l2_ops);
CREATE INDEX types_items_h ON types_items USING pq ((e::halfvec(2)) halfvec_l2_ops);
SET enable_seqscan = off;
EXPLAIN (COSTS off) SELECT id FROM types_items ORDER BY e <-> '[0,1]' LIMIT 3;
SELECT id FROM types_items ORDER BY e <-> '[0,1]' LIMIT 3;
RESET enable_seqscan;
SELECT jflow_pq_check('types_items_e'), jflow_pq_recall('types_items_e'), dims FROM jflow_pq_info('types_items_e');
CREATE INDEX ON types_items USING pq ((ARRAY[e::vector]) vector_l2_ops);
CREATE TABLE types_enums (e types_enum.vector);
CREATE INDEX ON types_enums USING pq (e vector_l2_ops);
DROP TABLE types_enums;

-- documents: domains over them, rows of typed tables, records
CREATE TABLE types_seen (doc jsonb);
CREATE FUNCTION types_see(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO types_seen SELECT d::jsonb FROM unnest(docs) d; RETURN docs; END $$;
SELECT jflow_create('types');
SELECT jflow_add('types', 'fit', uses => 'TfidfVectorizer', uses_with => '{"fit": "request", "dense": true}', replicas => 0);
SELECT jflow_add('types', 'see', uses => 'types_see', replicas => 0);
CREATE DOMAIN types_domain.doc AS jflow_doc;
CREATE DOMAIN types_domain.docs AS jflow_doc[];
CREATE TABLE types_typed OF jflow_doc;
INSERT INTO types_typed (id, text) VALUES ('1', 'one two');
SELECT text, embedding FROM jflow_post('/x', ARRAY[jflow_doc(text => 'one two')::types_domain.doc::jflow_doc], 'types');
SELECT text, embedding FROM jflow_post('/x', ARRAY[jflow_doc(text => 'one two')::types_domain.doc], 'types');
SELECT text, embedding FROM jflow_post('/x', ARRAY[jflow_doc(text => 'one two')]::types_domain.docs, 'types');
SELECT text, embedding FROM jflow_post('/x', (SELECT array_agg(t::jflow_doc) FROM types_typed t), 'types');
\set VERBOSITY sqlstate
SELECT text, embedding FROM jflow_post('/x', (SELECT array_agg(t) FROM types_typed t), 'types');
\set VERBOSITY default
DO $$
DECLARE
	d types_domain.doc;
	r record;
BEGIN
	d.text := 'one two';
	RAISE WARNING '%', (SELECT embedding FROM jflow_post('/x', ARRAY[d::jflow_doc], 'types'));
	SELECT jflow_doc(text => 'one two') AS a INTO r;
	RAISE WARNING '%', (SELECT embedding FROM jflow_post('/x', ARRAY[r.a], 'types'));
END $$;

-- what a query returns: a cast as in an INSERT, or an error
CREATE FUNCTION types_query(query text) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM types_seen;
	PERFORM jflow_post_query('/x', query, 'types', target_executor => 'see');
	RETURN QUERY SELECT CASE WHEN doc->>'id' ~ '^[0-9a-f]{8}-' THEN doc - 'id' ELSE doc END FROM types_seen;
EXCEPTION WHEN OTHERS THEN
	RETURN NEXT to_jsonb(SQLSTATE || ' ' || SQLERRM);
END $$;
SELECT types_query($$SELECT 'a'::types_enum.vector AS embedding$$);
SELECT types_query($$SELECT 4711::types_domain.vector AS embedding$$);
SELECT types_query($$SELECT ROW(1)::types_domain.halfvec AS embedding$$);
SELECT types_query($$SELECT '[1,2]'::types_domain.sparsevec AS sparse_embedding$$);
SELECT types_query($$SELECT '[1,1]'::types_domain.unit_of_unit AS embedding$$);
SELECT types_query($$SELECT '{1,1}'::float4[] AS embedding$$);
SELECT types_query($$SELECT '{1,1}'::numeric[] AS embedding$$);
SELECT types_query($$SELECT '[1,1]'::halfvec AS embedding$$);
SELECT types_query($$SELECT '{1:1}/2'::sparsevec AS embedding, '[1,0]'::vector AS sparse_embedding$$);
SELECT types_query($$SELECT ARRAY['[1,1]'::vector] AS embedding$$);
SELECT types_query($$SELECT 'a'::types_enum.vector AS id, 'a'::types_enum.vector AS text$$);
SELECT types_query($$SELECT 4711::types_domain.text AS id$$);
SELECT types_query($$SELECT 4711::types_domain.text AS text$$);
SELECT types_query($$SELECT ROW(1, 'a') AS id$$);
SELECT types_query($$SELECT 7::types_domain.vector AS granularity, 3 AS weight$$);
SELECT types_query($$SELECT 70000 AS granularity$$);
SELECT types_query($$SELECT '{"a": 1}'::json AS tags$$);
SELECT types_query($$SELECT '{"a": 1}'::text AS tags$$);
SELECT types_query($$SELECT ARRAY[ROW('a', 1, 't', 'u', NULL)::jflow_match] AS matches$$);
SELECT types_query($$SELECT ARRAY[ROW('a', 1, 't', 'u', NULL)] AS matches$$);
SELECT types_query($$SELECT '\x00'::bytea AS blob, 'a'::bytea AS text$$);

-- what a query fits
CREATE DOMAIN types_domain.word AS text;
SELECT * FROM jflow_fit('types', 'fit', $$SELECT 'one two'::types_domain.word$$);
SELECT * FROM jflow_fit('types', 'fit', $$SELECT 'a'::types_enum.vector AS text$$);
SELECT * FROM jflow_fit('types', 'fit', $$SELECT 4711::types_domain.text AS text$$);
SELECT * FROM jflow_fit('types', 'fit', $$SELECT ARRAY['one two'] AS text$$);
SELECT * FROM jflow_fit('types', 'fit', $$SELECT 'one two'::name$$);
SELECT jflow_drop('types');

-- pgvector is moved, and moved again, while sessions and replicas have plans of what they search
CREATE ROLE jflow_mover_of_types LOGIN;
CREATE SCHEMA types_store AUTHORIZATION jflow_mover_of_types;
SET ROLE jflow_mover_of_types;
SELECT jflow_create('moved');
SELECT jflow_add('moved', 'inline', uses => 'PQLiteIndexer', uses_with => '{"dim": 2, "columns": {"n": "int4"}}', workspace => 'types_store', replicas => 0);
SELECT jflow_create('moved_replicas');
SELECT jflow_add('moved_replicas', 'replica', uses => 'PQLiteIndexer', uses_with => '{"dim": 2}', workspace => 'types_store', shards => 2, replicas => 1);
SELECT jflow_start('moved_replicas');
SELECT jflow_wait('moved_replicas');
RESET ROLE;
CREATE FUNCTION types_search(flow text, parameters jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT string_agg(m.id, ',') FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,0]')], flow, parameters) p, unnest(p.matches) m);
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE VIEW types_use AS
	SELECT flow, (SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, embedding => ARRAY[1, i]::vector, tags => '{"n": 1}')) FROM generate_series(1, 5) i), flow)) AS indexed,
		types_search(flow, '{}') AS found, types_search(flow, '{"filter": {"n": 1}}') AS filtered,
		(SELECT count(*) FROM jflow_post('/fetch', ARRAY[jflow_doc(id => '3')], flow) WHERE embedding IS NOT NULL) AS fetched,
		(SELECT count(*) FROM jflow_post('/update', ARRAY[jflow_doc(id => '3', text => 'three')], flow)) AS updated
	FROM unnest('{moved,moved_replicas}'::text[]) flow;
SELECT * FROM types_use;
CREATE SCHEMA types_elsewhere;
GRANT USAGE ON SCHEMA types_elsewhere TO PUBLIC;
ALTER EXTENSION vector SET SCHEMA types_elsewhere;
SELECT * FROM types_use;
ALTER SCHEMA types_elsewhere RENAME TO types_again;
SELECT * FROM types_use;
SET search_path = public, types_again;
SELECT id FROM types_items ORDER BY e <-> '[0,1]' LIMIT 3;
INSERT INTO types_items VALUES (400, '[0,1]');
SELECT jflow_pq_check('types_items_e'), jflow_pq_recall('types_items_e');
REINDEX INDEX types_items_e;
SELECT jflow_train('x', $$SELECT e FROM types_items$$);
RESET search_path;
DELETE FROM jflow.codebook;
-- one who passes for it takes its old place
CREATE TYPE vector AS ENUM ('a');
CREATE TYPE sparsevec AS ENUM ('a');
SELECT * FROM types_use;
SELECT jflow_train('x', $$SELECT 'a'::public.vector$$);
DROP TYPE vector, sparsevec;
ALTER EXTENSION vector SET SCHEMA public;
SELECT * FROM types_use;
DROP VIEW types_use;
SELECT jflow_stop('moved_replicas');
SELECT jflow_drop('moved', drop_data => true), jflow_drop('moved_replicas', drop_data => true);

-- what passes for pgvector's in the schema that jflow is created in
\set SHOW_CONTEXT never
CREATE SCHEMA forged;
CREATE SCHEMA real_vector;
BEGIN;
DROP EXTENSION vector CASCADE;
CREATE EXTENSION vector SCHEMA real_vector;
CREATE TYPE forged.halfvec AS ENUM ('a');
SAVEPOINT s;
CREATE EXTENSION jflow SCHEMA forged;
ROLLBACK TO s;
DROP TYPE forged.halfvec;
CREATE FUNCTION forged.distance(real_vector.vector, real_vector.vector) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT 1.0::float8';
CREATE OPERATOR forged.<=> (LEFTARG = real_vector.vector, RIGHTARG = real_vector.vector, FUNCTION = forged.distance);
SAVEPOINT s;
CREATE EXTENSION jflow SCHEMA forged;
ROLLBACK TO s;
DROP OPERATOR forged.<=> (real_vector.vector, real_vector.vector);
CREATE FUNCTION forged.l2_distance(real_vector.vector, real_vector.vector) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT 1.0::float8';
SAVEPOINT s;
CREATE EXTENSION jflow SCHEMA forged;
ROLLBACK;
DROP SCHEMA forged, real_vector;

DROP TABLE types_items, types_seen, types_typed;
DROP FUNCTION types_see, types_query, types_search;
DROP SCHEMA types_enum, types_domain, types_again CASCADE;
DROP SCHEMA types_store;
DROP OWNED BY jflow_mover_of_types CASCADE;
DROP ROLE jflow_mover_of_types;
\set SHOW_CONTEXT errors
