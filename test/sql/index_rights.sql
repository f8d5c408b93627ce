-- Do functions that look into an index run its owner's code with his rights only, and does nobody learn what he may not read?
SET client_min_messages = warning;
CREATE ROLE index_mallory;
CREATE ROLE index_reader;
CREATE ROLE index_stranger;
CREATE SCHEMA index_mallory AUTHORIZATION index_mallory;
GRANT USAGE ON SCHEMA index_mallory TO index_reader, index_stranger;

-- three kinds of code in an index: an expression, a predicate, and what planning folds into a constant
SET ROLE index_mallory;
SET search_path = index_mallory, public;
CREATE TABLE seen (who text, path text, temporary bool);
CREATE TABLE t (id int, e vector(2), s sparsevec(100));
INSERT INTO t SELECT i, ARRAY[i, i * 2]::vector, format('{%s:1,%s:2}/100', 1 + i % 40, 50 + i % 50)::sparsevec FROM generate_series(1, 300) i;
CREATE FUNCTION look() RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION f(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM index_mallory.look(); RETURN v; END $$;
CREATE FUNCTION f(v sparsevec) RETURNS sparsevec LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM index_mallory.look(); RETURN v; END $$;
CREATE FUNCTION p(i int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM index_mallory.look(); RETURN true; END $$;
CREATE FUNCTION c() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM index_mallory.look(); RETURN 1; END $$;
CREATE INDEX pq_expression ON t USING pq ((f(e)::vector(2)) vector_l2_ops);
CREATE INDEX pq_predicate ON t USING pq (e vector_l2_ops) WHERE p(id);
CREATE INDEX pq_folded ON t USING pq (e vector_l2_ops) WHERE id * 0 + c() = 1;
CREATE INDEX inverted_expression ON t USING inverted ((f(s)::sparsevec(100)) sparsevec_ip_ops);
CREATE INDEX inverted_predicate ON t USING inverted (s sparsevec_ip_ops) WHERE p(id);
CREATE INDEX inverted_folded ON t USING inverted (s sparsevec_ip_ops) WHERE id * 0 + c() = 1;
CREATE OR REPLACE FUNCTION look() RETURNS void LANGUAGE plpgsql AS $$
DECLARE temporary bool := true;
BEGIN
	BEGIN
		CREATE TEMP TABLE IF NOT EXISTS trap (a int);
	EXCEPTION WHEN insufficient_privilege THEN temporary := false;
	END;
	PERFORM set_config('work_mem', '123kB', false);
	INSERT INTO index_mallory.seen SELECT current_user, current_setting('search_path'), temporary;
END $$;
RESET ROLE;
RESET search_path;
CREATE FUNCTION seen() RETURNS TABLE (who text, path text, temporary bool) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT DISTINCT s.* FROM index_mallory.seen s;
	DELETE FROM index_mallory.seen;
END $$;
CREATE VIEW functions AS SELECT row_number() OVER () AS n, * FROM (VALUES ('pq', 'info'), ('pq', 'check'), ('pq', 'recall'), ('inverted', 'info'), ('inverted', 'check')) f (method, f);
CREATE VIEW calls AS SELECT format('jflow_%s_%s(%L)', method, f, format('index_mallory.%s_%s', method, code)) AS call, n, f, m, code
	FROM functions, unnest('{expression,predicate,folded}'::text[]) WITH ORDINALITY c (code, m);
GRANT SELECT ON calls TO PUBLIC;
\c -
SET client_min_messages = warning;
SELECT format('SELECT count(*) AS %I FROM %s', call, call), 'SELECT * FROM seen()' FROM calls WHERE f <> 'recall' ORDER BY n, m \gexec
-- anew, since a session keeps what it has folded
\c -
SET client_min_messages = warning;
SELECT format('SELECT count(*) AS %I FROM %s', call, call), 'SELECT * FROM seen()' FROM calls WHERE f = 'recall' ORDER BY n, m \gexec
-- nothing stays behind, after an error neither
SHOW work_mem;
SELECT current_user = session_user, current_setting('search_path');
CREATE PROCEDURE fail() LANGUAGE plpgsql AS $$
DECLARE call text;
BEGIN
	CREATE OR REPLACE FUNCTION index_mallory.look() RETURNS void LANGUAGE plpgsql AS $a$ BEGIN PERFORM set_config('work_mem', '123kB', false); RAISE 'stop'; END $a$;
	FOR call IN SELECT c.call FROM calls c WHERE f <> 'info' AND code = 'expression' ORDER BY n LOOP
		BEGIN
			EXECUTE 'SELECT ' || call;
		EXCEPTION WHEN OTHERS THEN
			RAISE WARNING '% %: %, %, %', call, SQLERRM, current_user = session_user, current_setting('search_path'), current_setting('work_mem');
		END;
	END LOOP;
END $$;
CALL fail();
-- what the caller's session holds is kept from that code: cursors, advisory locks, the seed
CREATE OR REPLACE FUNCTION index_mallory.look() RETURNS void LANGUAGE plpgsql AS $$
DECLARE c refcursor;
BEGIN
	BEGIN
		c := 'callers';
		CLOSE c;
	EXCEPTION WHEN OTHERS THEN INSERT INTO index_mallory.seen (who) VALUES ('close: ' || SQLERRM);
	END;
	BEGIN
		c := 'callers';
		OPEN c FOR SELECT 'stolen';
	EXCEPTION WHEN OTHERS THEN INSERT INTO index_mallory.seen (who) VALUES ('open: ' || SQLERRM);
	END;
	BEGIN
		c := 'callers';
		MOVE c;
	EXCEPTION WHEN OTHERS THEN INSERT INTO index_mallory.seen (who) VALUES ('move: ' || SQLERRM);
	END;
	BEGIN
		PERFORM pg_advisory_unlock_all();
	EXCEPTION WHEN OTHERS THEN INSERT INTO index_mallory.seen (who) VALUES ('unlock: ' || SQLERRM);
	END;
	BEGIN
		PERFORM setseed(0);
	EXCEPTION WHEN OTHERS THEN INSERT INTO index_mallory.seen (who) VALUES ('seed: ' || SQLERRM);
	END;
	IF NOT EXISTS (SELECT FROM pg_cursors WHERE name = 'left') THEN
		c := 'left';
		OPEN c FOR SELECT 'left behind';
	END IF;
END $$;
SELECT pg_advisory_lock(11);
BEGIN;
DECLARE callers SCROLL CURSOR FOR SELECT current_user = session_user AS mine FROM generate_series(1, 3);
FETCH callers;
SELECT jflow_pq_check('index_mallory.pq_expression');
SELECT count(*) AS left FROM pg_cursors WHERE name = 'left';
FETCH callers;
SELECT jflow_inverted_check('index_mallory.inverted_expression');
SELECT count(*) AS left FROM pg_cursors WHERE name = 'left';
FETCH callers;
CALL fail();
MOVE BACKWARD ALL FROM callers;
FETCH callers;
COMMIT;
SELECT pg_advisory_unlock(11);
SELECT DISTINCT who FROM index_mallory.seen ORDER BY who;
DELETE FROM index_mallory.seen;

-- an index cannot be dropped by its own expression
CREATE OR REPLACE FUNCTION index_mallory.look() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP INDEX index_mallory.pq_expression; END $$;
SELECT jflow_pq_check('index_mallory.pq_expression');
SELECT jflow_pq_recall('index_mallory.pq_expression');
CREATE OR REPLACE FUNCTION index_mallory.look() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP INDEX index_mallory.inverted_expression; END $$;
SELECT jflow_inverted_check('index_mallory.inverted_expression');
DROP INDEX index_mallory.pq_expression, index_mallory.inverted_expression;
CREATE OR REPLACE FUNCTION index_mallory.look() RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;

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
SET ROLE index_stranger;
SELECT call, attempt(call) FROM calls WHERE code = 'predicate' ORDER BY n;
RESET ROLE;
-- a right to some columns is not one to the table, and one to all of it does
GRANT SELECT (e, s) ON index_mallory.t TO index_reader;
SET ROLE index_reader;
SELECT DISTINCT attempt(call) FROM calls WHERE code = 'predicate';
RESET ROLE;
GRANT SELECT ON index_mallory.t TO index_reader;
SET ROLE index_reader;
SELECT DISTINCT attempt(call) FROM calls WHERE code = 'predicate';
RESET ROLE;
-- row-level security hides rows, whose number is not told
ALTER TABLE index_mallory.t ENABLE ROW LEVEL SECURITY;
SET ROLE index_reader;
SELECT call, attempt(call) FROM calls WHERE code = 'predicate' ORDER BY n;
SET ROLE index_mallory;
SELECT DISTINCT attempt(call) FROM calls WHERE code = 'predicate';
RESET ROLE;
ALTER TABLE index_mallory.t FORCE ROW LEVEL SECURITY;
SET ROLE index_mallory;
SELECT DISTINCT attempt(call) FROM calls WHERE code = 'predicate';
-- the owner may whatever he has taken from himself
REVOKE ALL ON index_mallory.t FROM index_mallory;
SELECT DISTINCT attempt(call) FROM calls WHERE code = 'predicate';
GRANT ALL ON index_mallory.t TO index_mallory;
RESET ROLE;

-- other relations, and indexes that are not what they seem
CREATE TABLE o (id int PRIMARY KEY, e vector(2));
INSERT INTO o SELECT i, ARRAY[i, 1]::vector FROM generate_series(1, 10) i;
CREATE INDEX o_hnsw ON o USING hnsw (e vector_l2_ops);
CREATE TABLE parts (id int, e vector(2), s sparsevec(10)) PARTITION BY LIST (id);
CREATE INDEX parts_pq ON parts USING pq (e vector_l2_ops);
CREATE INDEX parts_inverted ON parts USING inverted (s sparsevec_ip_ops);
CREATE TABLE mixed (id int, e vector, s sparsevec);
INSERT INTO mixed VALUES (1, '[1,2]', '{1:1}/2'), (2, '[1,2,3]', '{1:1}/3');
\set VERBOSITY sqlstate
CREATE INDEX CONCURRENTLY mixed_pq ON mixed USING pq ((e::vector(2)) vector_l2_ops);
CREATE INDEX CONCURRENTLY mixed_inverted ON mixed USING inverted ((s::sparsevec(2)) sparsevec_ip_ops);
\set VERBOSITY default
SELECT relation, format('jflow_%s_%s', method, f) AS function, attempt(format('jflow_%s_%s(%L)', method, f, relation))
	FROM unnest('{o,o_pkey,o_hnsw,parts,parts_pq,parts_inverted,mixed_pq,mixed_inverted,calls,0}'::text[]) relation, functions
	ORDER BY relation COLLATE "C", n;
DELETE FROM mixed WHERE id = 2;
REINDEX TABLE mixed;
SELECT jflow_pq_check('mixed_pq'), jflow_inverted_check('mixed_inverted');

-- a codebook tells of vectors, so another role's is never taken, by nobody
SELECT jflow_train('secret', 'SELECT e FROM o', 'l2', 2);
SET ROLE index_reader;
SELECT jflow_train('hers', $$SELECT '[1,2]'::vector FROM generate_series(1, 10)$$, 'l2', 3);
RESET ROLE;
CREATE TABLE index_mallory.w (e vector(2));
INSERT INTO index_mallory.w SELECT e FROM o;
ALTER TABLE index_mallory.w OWNER TO index_mallory;
CREATE INDEX w_super ON index_mallory.w USING pq (e vector_l2_ops) WITH (codebook = 'secret');
SET ROLE index_mallory;
CREATE INDEX w_secret ON index_mallory.w USING pq (e vector_l2_ops) WITH (codebook = 'secret');
CREATE INDEX w_hers ON index_mallory.w USING pq (e vector_l2_ops) WITH (codebook = 'hers');
SELECT jflow_train('hers', $$SELECT '[1,2]'::vector FROM generate_series(1, 10)$$, 'l2', 1);
REINDEX INDEX index_mallory.w_hers;
SELECT index, codebook FROM (VALUES ('w_super'), ('w_secret'), ('w_hers')) i (index), jflow_pq_info('index_mallory.' || index);
RESET ROLE;
CREATE INDEX o_hers ON o USING pq (e vector_l2_ops) WITH (codebook = 'hers');
DELETE FROM jflow.codebook;

-- who reads by distance runs the expression that the query names, and no code of the index's other columns
SET ROLE index_mallory;
CREATE TABLE index_mallory.filtered (id int, e vector, s sparsevec);
INSERT INTO index_mallory.filtered SELECT i, ARRAY[i, i * 2]::vector, format('{%s:1,%s:2}/100', 1 + i % 40, 50 + i % 50)::sparsevec FROM generate_series(1, 300) i;
CREATE FUNCTION index_mallory.named(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE WARNING 'run by %', current_user; RETURN i; END $$;
SET client_min_messages = error;
CREATE INDEX filtered_pq ON index_mallory.filtered USING pq ((e::vector(2)) vector_l2_ops, index_mallory.named(id));
CREATE INDEX filtered_inverted ON index_mallory.filtered USING inverted ((s::sparsevec(100)) sparsevec_ip_ops, index_mallory.named(id));
RESET client_min_messages;
RESET ROLE;
SET enable_seqscan = off;
SELECT count(*) FROM (SELECT id FROM index_mallory.filtered ORDER BY e::vector(2) <-> '[1,2]' LIMIT 2) near;
SELECT count(*) FROM (SELECT id FROM index_mallory.filtered ORDER BY e::vector(2) <-> '[1,2]' OFFSET 0) near;
SELECT count(*) FROM (SELECT id FROM index_mallory.filtered ORDER BY s::sparsevec(100) <#> '{1:1}/100' LIMIT 2) near;
SELECT count(*) FROM (SELECT id FROM index_mallory.filtered ORDER BY s::sparsevec(100) <#> '{1:1}/100' OFFSET 0) near;
RESET enable_seqscan;
SET client_min_messages = warning;

DROP PROCEDURE fail;
DROP VIEW calls, functions;
DROP FUNCTION attempt, seen;
DROP TABLE o, parts, mixed;
DROP SCHEMA index_mallory CASCADE;
DROP ROLE index_mallory, index_reader, index_stranger;
