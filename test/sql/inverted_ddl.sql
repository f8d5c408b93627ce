-- Does an inverted index live through what is done to tables and indexes?
SET client_min_messages = warning;
SET jit = off;
CREATE SCHEMA inverted_ddl;
SET search_path = inverted_ddl, public;
SET enable_seqscan = off;
SET enable_sort = off;

CREATE FUNCTION v(i int) RETURNS sparsevec LANGUAGE sql IMMUTABLE
	RETURN format('{%s:1,%s:%s,%s:0.25}/1000', 1 + i % 9, 10 + i % 90, 1 + i % 5, 100 + i % 900)::sparsevec;
-- the ids that an index gives, and whether they are those of a sort
CREATE FUNCTION nearest(tab regclass, k int DEFAULT 5, cond text DEFAULT 'true') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	q text := format('SELECT array_agg(round(d::numeric, 4)) FROM (SELECT v <#> ''{3:1,15:0.5,200:2}/1000'' AS d FROM %s WHERE %s ORDER BY v <#> ''{3:1,15:0.5,200:2}/1000'' LIMIT %s) x', tab, cond, k);
	a text;
	b text;
BEGIN
	EXECUTE q INTO a;
	SET LOCAL enable_indexscan = off;
	SET LOCAL enable_seqscan = on;
	SET LOCAL enable_sort = on;
	EXECUTE q INTO b;
	RETURN CASE WHEN a IS NOT DISTINCT FROM b THEN left(a, 40) ELSE format('%s instead of %s', a, b) END;
END $$;

CREATE TABLE t (id int, v sparsevec(1000), price int);
INSERT INTO t SELECT i, v(i), i % 10 FROM generate_series(1, 3000) i;
CREATE INDEX CONCURRENTLY t_v ON t USING inverted (v sparsevec_ip_ops, price);
SELECT nearest('t'), nearest('t', 10000), jflow_inverted_check('t_v');
REINDEX INDEX CONCURRENTLY t_v;
SELECT nearest('t'), jflow_inverted_check('t_v');
TRUNCATE t;
SELECT nearest('t'), jflow_inverted_check('t_v');
INSERT INTO t SELECT i, v(i), i % 10 FROM generate_series(1, 3000) i;
SELECT nearest('t'), jflow_inverted_check('t_v');
BEGIN;
TRUNCATE t;
INSERT INTO t SELECT i, v(i), i % 10 FROM generate_series(1, 30) i;
SELECT nearest('t'), jflow_inverted_check('t_v');
ROLLBACK;
SELECT nearest('t'), jflow_inverted_check('t_v');
CREATE INDEX t_id ON t (id);
CLUSTER t USING t_id;
SELECT nearest('t'), jflow_inverted_check('t_v');
VACUUM FULL t;
SELECT nearest('t'), jflow_inverted_check('t_v');
CLUSTER t USING t_v;
ALTER TABLE t ALTER price TYPE int8;
SELECT nearest('t', 5, 'price = 3'), jflow_inverted_check('t_v');
BEGIN;
SAVEPOINT s;
INSERT INTO t SELECT i, v(i), i % 10 FROM generate_series(3001, 9000) i;
ROLLBACK TO s;
INSERT INTO t SELECT i, v(i), i % 10 FROM generate_series(3001, 3100) i;
COMMIT;
SELECT nearest('t', 10000) = nearest('t', 10000), jflow_inverted_check('t_v') >= 3100;
VACUUM (FREEZE) t;
SELECT nearest('t'), jflow_inverted_check('t_v');
-- pages are used again
SELECT pages AS before FROM jflow_inverted_info('t_v') \gset
INSERT INTO t SELECT i, v(i), 0 FROM generate_series(10001, 13000) i;
DELETE FROM t WHERE id > 10000;
VACUUM (FREEZE) t;
INSERT INTO t SELECT i, v(i), 0 FROM generate_series(10001, 13000) i;
DELETE FROM t WHERE id > 10000;
VACUUM (FREEZE) t;
SELECT pages AS between FROM jflow_inverted_info('t_v') \gset
INSERT INTO t SELECT i, v(i), 0 FROM generate_series(10001, 13000) i;
DELETE FROM t WHERE id > 10000;
VACUUM (FREEZE) t;
INSERT INTO t SELECT i, v(i), 0 FROM generate_series(10001, 13000) i;
DELETE FROM t WHERE id > 10000;
VACUUM (FREEZE) t;
SELECT pages <= :between AS kept, :between < :before + 500 AS few, dead, retired, pending, tuples FROM jflow_inverted_info('t_v');

-- several indexes at a time, by workers of VACUUM
CREATE INDEX t_cosine ON t USING inverted (v sparsevec_cosine_ops);
INSERT INTO t SELECT i, v(i), i % 10 FROM generate_series(20001, 26000) i;
DELETE FROM t WHERE id % 3 = 0;
SET min_parallel_index_scan_size = 0;
VACUUM (FREEZE, PARALLEL 2) t;
RESET min_parallel_index_scan_size;
SELECT nearest('t'), jflow_inverted_check('t_v') = count(*), jflow_inverted_check('t_cosine') = count(*) FROM t;
SELECT pending, dead FROM jflow_inverted_info('t_v') UNION ALL SELECT pending, dead FROM jflow_inverted_info('t_cosine');
DROP INDEX t_cosine;
-- what a build says that it does
SELECT n, pg_indexam_progress_phasename(oid, n) FROM pg_am, generate_series(1, 5) n WHERE amname = 'inverted' ORDER BY n;

-- temporary, unlogged, on an expression, partial
CREATE TEMP TABLE temporary (id int, v sparsevec(1000));
CREATE INDEX temporary_v ON temporary USING inverted (v sparsevec_ip_ops);
INSERT INTO temporary SELECT i, v(i) FROM generate_series(1, 3000) i;
SELECT nearest('temporary'), jflow_inverted_check('temporary_v');
VACUUM (FREEZE) temporary;
SELECT nearest('temporary'), jflow_inverted_check('temporary_v');
CREATE UNLOGGED TABLE unlogged (id int, v sparsevec(1000));
CREATE INDEX unlogged_v ON unlogged USING inverted (v sparsevec_ip_ops);
INSERT INTO unlogged SELECT i, v(i) FROM generate_series(1, 3000) i;
VACUUM (FREEZE) unlogged;
SELECT nearest('unlogged'), jflow_inverted_check('unlogged_v');
ALTER TABLE unlogged SET LOGGED;
SELECT nearest('unlogged'), jflow_inverted_check('unlogged_v');
CREATE TABLE e (id int);
CREATE INDEX e_v ON e USING inverted ((v(id)::sparsevec(1000)) sparsevec_cosine_ops) WHERE id % 2 = 0;
INSERT INTO e SELECT generate_series(1, 2000);
SELECT array_agg(id % 2) FROM (SELECT id FROM e WHERE id % 2 = 0 ORDER BY v(id)::sparsevec(1000) <=> v(8) LIMIT 3) x;
SELECT jflow_inverted_check('e_v');

-- partitions
CREATE TABLE p (id int, v sparsevec(1000), day int) PARTITION BY RANGE (day);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE INDEX p_v ON p USING inverted (v sparsevec_ip_ops);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
INSERT INTO p SELECT i, v(i), i % 20 FROM generate_series(1, 2000) i;
ANALYZE p;
EXPLAIN (COSTS OFF) SELECT id FROM p ORDER BY v <#> '{3:1}/1000' LIMIT 5;
SELECT nearest('p'), jflow_inverted_check('p1_v_idx'), jflow_inverted_check('p2_v_idx');
SELECT jflow_inverted_check('p_v');

-- a few rows updated again and again
CREATE TABLE hot (id int, v sparsevec(1000));
CREATE INDEX hot_v ON hot USING inverted (v sparsevec_ip_ops);
INSERT INTO hot SELECT i, v(i) FROM generate_series(1, 10) i;
DO $$ BEGIN FOR i IN 1 .. 500 LOOP UPDATE hot SET v = v(i + id); END LOOP; END $$;
SELECT nearest('hot'), nearest('hot', 100);
VACUUM (FREEZE) hot;
SELECT nearest('hot', 100), jflow_inverted_check('hot_v'), tuples, dead FROM jflow_inverted_info('hot_v');

DROP SCHEMA inverted_ddl CASCADE;
