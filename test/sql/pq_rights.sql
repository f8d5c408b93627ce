-- Do functions that look into an index run its owner's code with his rights only, and does nobody learn what he may not read?
SET client_min_messages = warning;
CREATE ROLE pq_mallory;
CREATE ROLE pq_reader;
CREATE ROLE pq_stranger;
CREATE SCHEMA pq_mallory AUTHORIZATION pq_mallory;
GRANT USAGE ON SCHEMA pq_mallory TO pq_reader, pq_stranger;

-- three kinds of code in an index: an expression, a predicate, and what planning folds into a constant
SET ROLE pq_mallory;
SET search_path = pq_mallory, public;
CREATE TABLE seen (who text, path text, temporary bool);
CREATE TABLE t (id int, e vector(2));
INSERT INTO t SELECT i, ARRAY[i, i * 2]::vector FROM generate_series(1, 300) i;
CREATE FUNCTION f(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN v; END $$;
CREATE FUNCTION p(i int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN true; END $$;
CREATE FUNCTION c() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 1; END $$;
CREATE INDEX expression ON t USING pq ((f(e)::vector(2)) vector_l2_ops);
CREATE INDEX predicate ON t USING pq (e vector_l2_ops) WHERE p(id);
CREATE INDEX folded ON t USING pq (e vector_l2_ops) WHERE id * 0 + c() = 1;
CREATE FUNCTION look() RETURNS void LANGUAGE plpgsql AS $$
DECLARE temporary bool := true;
BEGIN
	BEGIN
		CREATE TEMP TABLE IF NOT EXISTS trap (a int);
	EXCEPTION WHEN insufficient_privilege THEN temporary := false;
	END;
	PERFORM set_config('work_mem', '123kB', false);
	INSERT INTO pq_mallory.seen SELECT current_user, current_setting('search_path'), temporary;
END $$;
CREATE OR REPLACE FUNCTION f(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pq_mallory.look(); RETURN v; END $$;
CREATE OR REPLACE FUNCTION p(i int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pq_mallory.look(); RETURN true; END $$;
CREATE OR REPLACE FUNCTION c() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pq_mallory.look(); RETURN 1; END $$;
RESET ROLE;
RESET search_path;
\c -
SET client_min_messages = warning;
CREATE FUNCTION seen(what text) RETURNS TABLE (call text, who text, path text, temporary bool) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT DISTINCT what, s.* FROM pq_mallory.seen s;
	DELETE FROM pq_mallory.seen;
END $$;
SELECT count(*) FROM (VALUES ('expression'), ('predicate'), ('folded')) i (index), jflow_pq_info('pq_mallory.' || index);
SELECT * FROM seen('info');
SELECT jflow_pq_check('pq_mallory.expression');
SELECT * FROM seen('check, expression');
SELECT jflow_pq_check('pq_mallory.predicate');
SELECT * FROM seen('check, predicate');
SELECT jflow_pq_check('pq_mallory.folded');
SELECT * FROM seen('check, folded');
-- anew, since a session keeps what it has folded
\c -
SET client_min_messages = warning;
SELECT jflow_pq_recall('pq_mallory.expression', 3) > 0.5;
SELECT * FROM seen('recall, expression');
SELECT jflow_pq_recall('pq_mallory.predicate', 3) > 0.5;
SELECT * FROM seen('recall, predicate');
SELECT jflow_pq_recall('pq_mallory.folded', 3) > 0.5;
SELECT * FROM seen('recall, folded');
-- nothing stays behind, after an error neither
SHOW work_mem;
SELECT current_user = session_user, current_setting('search_path');
CREATE OR REPLACE FUNCTION pq_mallory.f(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pq_mallory.look(); RAISE 'stop'; END $$;
DO $$ BEGIN
	PERFORM jflow_pq_check('pq_mallory.expression');
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%: %, %, %', SQLERRM, current_user = session_user, current_setting('search_path'), current_setting('work_mem');
END $$;
-- what the caller's session holds is kept from that code: cursors, advisory locks, the seed
SET ROLE pq_mallory;
CREATE OR REPLACE FUNCTION pq_mallory.f(v vector) RETURNS vector LANGUAGE plpgsql AS $$
DECLARE c refcursor;
BEGIN
	BEGIN
		c := 'callers';
		CLOSE c;
	EXCEPTION WHEN OTHERS THEN INSERT INTO pq_mallory.seen (who) VALUES ('close: ' || SQLERRM);
	END;
	BEGIN
		c := 'callers';
		OPEN c FOR SELECT 'stolen';
	EXCEPTION WHEN OTHERS THEN INSERT INTO pq_mallory.seen (who) VALUES ('open: ' || SQLERRM);
	END;
	BEGIN
		c := 'callers';
		MOVE c;
	EXCEPTION WHEN OTHERS THEN INSERT INTO pq_mallory.seen (who) VALUES ('move: ' || SQLERRM);
	END;
	BEGIN
		PERFORM pg_advisory_unlock_all();
	EXCEPTION WHEN OTHERS THEN INSERT INTO pq_mallory.seen (who) VALUES ('unlock: ' || SQLERRM);
	END;
	BEGIN
		PERFORM setseed(0);
	EXCEPTION WHEN OTHERS THEN INSERT INTO pq_mallory.seen (who) VALUES ('seed: ' || SQLERRM);
	END;
	IF NOT EXISTS (SELECT FROM pg_cursors WHERE name = 'left') THEN
		c := 'left';
		OPEN c FOR SELECT 'left behind';
	END IF;
	RETURN v;
END $$;
RESET ROLE;
CREATE OR REPLACE FUNCTION pq_mallory.g(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN v; END $$;
CREATE INDEX broken ON pq_mallory.t USING pq ((pq_mallory.g(e)::vector(2)) vector_l2_ops);
CREATE OR REPLACE FUNCTION pq_mallory.g(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'stopped'; END $$;
SELECT pg_advisory_lock(11);
BEGIN;
DECLARE callers SCROLL CURSOR FOR SELECT current_user = session_user AS mine FROM generate_series(1, 2);
FETCH callers;
SELECT jflow_pq_check('pq_mallory.expression');
FETCH callers;
SELECT count(*) FROM pg_cursors WHERE name = 'left';
DO $$ BEGIN
	PERFORM jflow_pq_check('pq_mallory.broken');
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%', SQLERRM;
END $$;
MOVE BACKWARD ALL FROM callers;
FETCH callers;
COMMIT;
SELECT pg_advisory_unlock(11);
SELECT DISTINCT who FROM pq_mallory.seen ORDER BY who;
DELETE FROM pq_mallory.seen;

-- an index cannot be dropped by its own expression
CREATE OR REPLACE FUNCTION pq_mallory.f(v vector) RETURNS vector LANGUAGE plpgsql AS $$ BEGIN DROP INDEX pq_mallory.expression; RETURN v; END $$;
SELECT jflow_pq_check('pq_mallory.expression');
SELECT jflow_pq_recall('pq_mallory.expression');
DROP INDEX pq_mallory.expression;

-- who may not read the table learns nothing
CREATE FUNCTION attempt(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
	EXECUTE 'SELECT ' || call || ' IS NOT NULL';
	RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;
CREATE VIEW calls AS SELECT format('%s(%L)', f, 'pq_mallory.predicate') AS call
	FROM unnest('{jflow_pq_check,jflow_pq_info,jflow_pq_recall}'::text[]) f;
GRANT SELECT ON calls TO PUBLIC;
SET ROLE pq_stranger;
SELECT call, attempt(call) FROM calls;
RESET ROLE;
-- a right to some columns is not one to the table, and one to all of it does
GRANT SELECT (e) ON pq_mallory.t TO pq_reader;
SET ROLE pq_reader;
SELECT call, attempt(call) FROM calls;
RESET ROLE;
GRANT SELECT ON pq_mallory.t TO pq_reader;
SET ROLE pq_reader;
SELECT call, attempt(call) FROM calls;
RESET ROLE;
-- row-level security hides rows, whose number is not told
ALTER TABLE pq_mallory.t ENABLE ROW LEVEL SECURITY;
SET ROLE pq_reader;
SELECT call, attempt(call) FROM calls;
SET ROLE pq_mallory;
SELECT call, attempt(call) FROM calls;
RESET ROLE;
ALTER TABLE pq_mallory.t FORCE ROW LEVEL SECURITY;
SET ROLE pq_mallory;
SELECT call, attempt(call) FROM calls;
-- the owner may whatever he has taken from himself
REVOKE ALL ON pq_mallory.t FROM pq_mallory;
SELECT call, attempt(call) FROM calls;
RESET ROLE;
DELETE FROM pq_mallory.seen;

-- other relations, and indexes that are not what they seem
CREATE TABLE o (id int PRIMARY KEY, e vector(2));
INSERT INTO o SELECT i, ARRAY[i, 1]::vector FROM generate_series(1, 10) i;
CREATE TABLE parts (id int, e vector(2)) PARTITION BY LIST (id);
CREATE INDEX parts_pq ON parts USING pq (e vector_l2_ops);
CREATE INDEX o_hnsw ON o USING hnsw (e vector_l2_ops);
CREATE TABLE mixed (id int, e vector);
INSERT INTO mixed VALUES (1, '[1,2]'), (2, '[1,2,3]');
\set VERBOSITY sqlstate
CREATE INDEX CONCURRENTLY mixed_pq ON mixed USING pq ((e::vector(2)) vector_l2_ops);
\set VERBOSITY default
SELECT relation, attempt(format('%s(%L)', f, relation))
	FROM unnest('{o,o_pkey,o_hnsw,parts,parts_pq,mixed_pq,calls,0}'::text[]) relation,
		unnest('{jflow_pq_check,jflow_pq_info,jflow_pq_recall}'::text[]) f
	ORDER BY relation COLLATE "C", f COLLATE "C";
DELETE FROM mixed WHERE id = 2;
REINDEX INDEX mixed_pq;
SELECT jflow_pq_check('mixed_pq');

-- a codebook tells of vectors, so another role's is never taken, by nobody
SELECT jflow_train('secret', 'SELECT e FROM o', 'l2', 2);
SET ROLE pq_reader;
SELECT jflow_train('hers', $$SELECT '[1,2]'::vector FROM generate_series(1, 10)$$, 'l2', 3);
RESET ROLE;
CREATE TABLE pq_mallory.w (e vector(2));
INSERT INTO pq_mallory.w SELECT e FROM o;
ALTER TABLE pq_mallory.w OWNER TO pq_mallory;
CREATE INDEX w_super ON pq_mallory.w USING pq (e vector_l2_ops) WITH (codebook = 'secret');
SET ROLE pq_mallory;
CREATE INDEX w_secret ON pq_mallory.w USING pq (e vector_l2_ops) WITH (codebook = 'secret');
CREATE INDEX w_hers ON pq_mallory.w USING pq (e vector_l2_ops) WITH (codebook = 'hers');
SELECT jflow_train('hers', $$SELECT '[1,2]'::vector FROM generate_series(1, 10)$$, 'l2', 1);
REINDEX INDEX pq_mallory.w_hers;
SELECT index, codebook FROM (VALUES ('w_super'), ('w_secret'), ('w_hers')) i (index), jflow_pq_info('pq_mallory.' || index);
RESET ROLE;
CREATE INDEX o_hers ON o USING pq (e vector_l2_ops) WITH (codebook = 'hers');
DELETE FROM jflow.codebook;

-- who reads by distance runs the expression that the query names, and no code of the index's other columns
SET ROLE pq_mallory;
CREATE TABLE pq_mallory.filtered (id int, e vector);
INSERT INTO pq_mallory.filtered SELECT i, ARRAY[i, i * 2]::vector FROM generate_series(1, 300) i;
CREATE FUNCTION pq_mallory.named(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE WARNING 'run by %', current_user; RETURN i; END $$;
SET client_min_messages = error;
CREATE INDEX filtered_pq ON pq_mallory.filtered USING pq ((e::vector(2)) vector_l2_ops, pq_mallory.named(id));
RESET client_min_messages;
RESET ROLE;
SET enable_seqscan = off;
SELECT count(*) FROM (SELECT id FROM pq_mallory.filtered ORDER BY e::vector(2) <-> '[1,2]' LIMIT 2) near;
SELECT count(*) FROM (SELECT id FROM pq_mallory.filtered ORDER BY e::vector(2) <-> '[1,2]' OFFSET 0) near;
RESET enable_seqscan;
SET client_min_messages = warning;

DROP VIEW calls;
DROP FUNCTION attempt, seen;
DROP TABLE o, parts, mixed;
DROP SCHEMA pq_mallory CASCADE;
DROP ROLE pq_mallory, pq_reader, pq_stranger;
