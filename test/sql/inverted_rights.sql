-- Do functions that look into an inverted index run its owner's code with his rights only, and does nobody learn what he may not read?
SET client_min_messages = warning;
CREATE ROLE inv_mallory;
CREATE ROLE inv_reader;
CREATE ROLE inv_stranger;
CREATE SCHEMA inv_mallory AUTHORIZATION inv_mallory;
GRANT USAGE ON SCHEMA inv_mallory TO inv_reader, inv_stranger;

-- three kinds of code in an index: an expression, a predicate, and what planning folds into a constant
SET ROLE inv_mallory;
SET search_path = inv_mallory, public;
CREATE TABLE seen (who text, path text, temporary bool);
CREATE TABLE t (id int, s sparsevec(100));
INSERT INTO t SELECT i, format('{%s:1,%s:2}/100', 1 + i % 40, 50 + i % 50)::sparsevec FROM generate_series(1, 300) i;
CREATE FUNCTION f(v sparsevec) RETURNS sparsevec LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN v; END $$;
CREATE FUNCTION p(i int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN true; END $$;
CREATE FUNCTION c() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 1; END $$;
CREATE INDEX expression ON t USING inverted ((f(s)::sparsevec(100)) sparsevec_ip_ops);
CREATE INDEX predicate ON t USING inverted (s sparsevec_ip_ops) WHERE p(id);
CREATE INDEX folded ON t USING inverted (s sparsevec_ip_ops) WHERE id * 0 + c() = 1;
CREATE FUNCTION look() RETURNS void LANGUAGE plpgsql AS $$
DECLARE temporary bool := true;
BEGIN
	BEGIN
		CREATE TEMP TABLE IF NOT EXISTS trap (a int);
	EXCEPTION WHEN insufficient_privilege THEN temporary := false;
	END;
	PERFORM set_config('work_mem', '123kB', false);
	INSERT INTO inv_mallory.seen SELECT current_user, current_setting('search_path'), temporary;
END $$;
CREATE OR REPLACE FUNCTION f(v sparsevec) RETURNS sparsevec LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM inv_mallory.look(); RETURN v; END $$;
CREATE OR REPLACE FUNCTION p(i int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM inv_mallory.look(); RETURN true; END $$;
CREATE OR REPLACE FUNCTION c() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM inv_mallory.look(); RETURN 1; END $$;
RESET ROLE;
RESET search_path;
\c -
SET client_min_messages = warning;
CREATE FUNCTION seen(what text) RETURNS TABLE (call text, who text, path text, temporary bool) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT DISTINCT what, s.* FROM inv_mallory.seen s;
	DELETE FROM inv_mallory.seen;
END $$;
SELECT count(*) FROM (VALUES ('expression'), ('predicate'), ('folded')) i (index), jflow_inverted_info('inv_mallory.' || index);
SELECT * FROM seen('info');
SELECT jflow_inverted_check('inv_mallory.expression');
SELECT * FROM seen('check, expression');
SELECT jflow_inverted_check('inv_mallory.predicate');
SELECT * FROM seen('check, predicate');
SELECT jflow_inverted_check('inv_mallory.folded');
SELECT * FROM seen('check, folded');
-- nothing stays behind, after an error neither
SHOW work_mem;
SELECT current_user = session_user, current_setting('search_path');
CREATE OR REPLACE FUNCTION inv_mallory.f(v sparsevec) RETURNS sparsevec LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM inv_mallory.look(); RAISE 'stop'; END $$;
DO $$ BEGIN
	PERFORM jflow_inverted_check('inv_mallory.expression');
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%: %, %, %', SQLERRM, current_user = session_user, current_setting('search_path'), current_setting('work_mem');
END $$;
-- what the caller's session holds is kept from that code: cursors, advisory locks, the seed
SET ROLE inv_mallory;
CREATE OR REPLACE FUNCTION inv_mallory.f(v sparsevec) RETURNS sparsevec LANGUAGE plpgsql AS $$
DECLARE c refcursor;
BEGIN
	BEGIN
		c := 'callers';
		CLOSE c;
	EXCEPTION WHEN OTHERS THEN INSERT INTO inv_mallory.seen (who) VALUES ('close: ' || SQLERRM);
	END;
	BEGIN
		c := 'callers';
		OPEN c FOR SELECT 'stolen';
	EXCEPTION WHEN OTHERS THEN INSERT INTO inv_mallory.seen (who) VALUES ('open: ' || SQLERRM);
	END;
	BEGIN
		c := 'callers';
		MOVE c;
	EXCEPTION WHEN OTHERS THEN INSERT INTO inv_mallory.seen (who) VALUES ('move: ' || SQLERRM);
	END;
	BEGIN
		PERFORM pg_advisory_unlock_all();
	EXCEPTION WHEN OTHERS THEN INSERT INTO inv_mallory.seen (who) VALUES ('unlock: ' || SQLERRM);
	END;
	BEGIN
		PERFORM setseed(0);
	EXCEPTION WHEN OTHERS THEN INSERT INTO inv_mallory.seen (who) VALUES ('seed: ' || SQLERRM);
	END;
	IF NOT EXISTS (SELECT FROM pg_cursors WHERE name = 'left') THEN
		c := 'left';
		OPEN c FOR SELECT 'left behind';
	END IF;
	RETURN v;
END $$;
RESET ROLE;
CREATE OR REPLACE FUNCTION inv_mallory.g(v sparsevec) RETURNS sparsevec LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN v; END $$;
CREATE INDEX broken ON inv_mallory.t USING inverted ((inv_mallory.g(s)::sparsevec(100)) sparsevec_ip_ops);
CREATE OR REPLACE FUNCTION inv_mallory.g(v sparsevec) RETURNS sparsevec LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'stopped'; END $$;
SELECT pg_advisory_lock(11);
BEGIN;
DECLARE callers SCROLL CURSOR FOR SELECT current_user = session_user AS mine FROM generate_series(1, 2);
FETCH callers;
SELECT jflow_inverted_check('inv_mallory.expression');
FETCH callers;
SELECT count(*) FROM pg_cursors WHERE name = 'left';
DO $$ BEGIN
	PERFORM jflow_inverted_check('inv_mallory.broken');
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%', SQLERRM;
END $$;
MOVE BACKWARD ALL FROM callers;
FETCH callers;
COMMIT;
SELECT pg_advisory_unlock(11);
SELECT DISTINCT who FROM inv_mallory.seen ORDER BY who;
DELETE FROM inv_mallory.seen;

-- an index cannot be dropped by its own expression
CREATE OR REPLACE FUNCTION inv_mallory.f(v sparsevec) RETURNS sparsevec LANGUAGE plpgsql AS $$ BEGIN DROP INDEX inv_mallory.expression; RETURN v; END $$;
SELECT jflow_inverted_check('inv_mallory.expression');
DROP INDEX inv_mallory.expression;

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
CREATE VIEW calls AS SELECT format('%s(%L)', f, 'inv_mallory.predicate') AS call
	FROM unnest('{jflow_inverted_check,jflow_inverted_info}'::text[]) f;
GRANT SELECT ON calls TO PUBLIC;
SET ROLE inv_stranger;
SELECT call, attempt(call) FROM calls;
-- a right to some columns is not one to the table, and one to all of it does
RESET ROLE;
GRANT SELECT (s) ON inv_mallory.t TO inv_reader;
SET ROLE inv_reader;
SELECT call, attempt(call) FROM calls;
RESET ROLE;
GRANT SELECT ON inv_mallory.t TO inv_reader;
SET ROLE inv_reader;
SELECT call, attempt(call) FROM calls;
-- row-level security hides rows, whose number is not told
RESET ROLE;
ALTER TABLE inv_mallory.t ENABLE ROW LEVEL SECURITY;
SET ROLE inv_reader;
SELECT call, attempt(call) FROM calls;
SET ROLE inv_mallory;
SELECT call, attempt(call) FROM calls;
RESET ROLE;

-- other relations, and indexes that are not what they seem
CREATE TABLE o (id int PRIMARY KEY, s sparsevec(10));
CREATE TABLE parts (id int, s sparsevec(10)) PARTITION BY LIST (id);
CREATE INDEX parts_inverted ON parts USING inverted (s sparsevec_ip_ops);
CREATE INDEX o_pq ON o USING pq (s sparsevec_l2_ops);
CREATE TABLE mixed (id int, s sparsevec);
INSERT INTO mixed VALUES (1, '{1:1}/2'), (2, '{1:1}/3');
\set VERBOSITY sqlstate
CREATE INDEX CONCURRENTLY mixed_inverted ON mixed USING inverted ((s::sparsevec(2)) sparsevec_ip_ops);
\set VERBOSITY default
SELECT relation, attempt(format('%s(%L)', f, relation))
	FROM unnest('{o,o_pkey,o_pq,parts,parts_inverted,mixed_inverted,calls,0}'::text[]) relation,
		unnest('{jflow_inverted_check,jflow_inverted_info}'::text[]) f
	ORDER BY relation COLLATE "C", f COLLATE "C";
DELETE FROM mixed WHERE id = 2;
REINDEX INDEX mixed_inverted;
SELECT jflow_inverted_check('mixed_inverted');

-- who reads by distance runs the expression that the query names, and no code of the index's other columns
SET ROLE inv_mallory;
CREATE TABLE inv_mallory.filtered (id int, s sparsevec);
INSERT INTO inv_mallory.filtered SELECT id, s FROM inv_mallory.t;
CREATE FUNCTION inv_mallory.named(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE WARNING 'run by %', current_user; RETURN i; END $$;
SET client_min_messages = error;
CREATE INDEX filtered_inv ON inv_mallory.filtered USING inverted ((s::sparsevec(100)) sparsevec_ip_ops, inv_mallory.named(id));
RESET client_min_messages;
RESET ROLE;
SET enable_seqscan = off;
SELECT count(*) FROM (SELECT id FROM inv_mallory.filtered ORDER BY s::sparsevec(100) <#> '{1:1}/100' LIMIT 2) near;
SELECT count(*) FROM (SELECT id FROM inv_mallory.filtered ORDER BY s::sparsevec(100) <#> '{1:1}/100' OFFSET 0) near;
RESET enable_seqscan;
SET client_min_messages = warning;

DROP VIEW calls;
DROP FUNCTION attempt, seen;
DROP TABLE o, parts, mixed;
DROP SCHEMA inv_mallory CASCADE;
DROP ROLE inv_mallory, inv_reader, inv_stranger;
