-- The pq index: types, metrics, plans, filters, input that it must refuse.
SET client_min_messages = warning;
CREATE TABLE pq_items (id int PRIMARY KEY, v vector(24), h halfvec(24), s sparsevec(24), price int, kind "char", score float8, day date);
INSERT INTO pq_items
SELECT i, v, v::halfvec, v::vector::sparsevec, i % 100, chr(97 + i % 5)::"char", CASE WHEN i % 10 = 0 THEN NULL ELSE i % 13 END, '2026-01-01'::date + i % 365
FROM (SELECT i, (SELECT array_agg(sin(i * j * 0.37 + j) + cos(i * 0.11 * j)) FROM generate_series(1, 24) j)::vector v
	  FROM generate_series(1, 6000) i) x;
ANALYZE pq_items;
CREATE FUNCTION probe(int) RETURNS vector LANGUAGE sql STABLE AS 'SELECT v FROM pq_items WHERE id = $1';

-- each type and metric: built, checked, recalled
CREATE FUNCTION try(col text, ops text) RETURNS TABLE (entries int8, good bool) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE INDEX pq_try ON pq_items USING pq (%I %I)', col, ops);
	entries := jflow_pq_check('pq_try');
	good := jflow_pq_recall('pq_try', 50) >= 0.9;
	DROP INDEX pq_try;
	RETURN NEXT;
END $$;
SELECT ops, t.* FROM (VALUES ('v', 'vector_l2_ops'), ('v', 'vector_ip_ops'), ('v', 'vector_cosine_ops'),
	('h', 'halfvec_l2_ops'), ('h', 'halfvec_ip_ops'), ('h', 'halfvec_cosine_ops'),
	('s', 'sparsevec_l2_ops'), ('s', 'sparsevec_ip_ops'), ('s', 'sparsevec_cosine_ops')) o (col, ops), try(col, ops) t;

-- the planner takes it for a small limit and for nothing else
CREATE INDEX pq_v ON pq_items USING pq (v vector_l2_ops, price, kind, score, day);
EXPLAIN (COSTS OFF) SELECT id FROM pq_items ORDER BY v <-> '[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM pq_items ORDER BY v <-> '[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]';
EXPLAIN (COSTS OFF) SELECT id FROM pq_items WHERE price = 7;
CREATE TABLE pq_tiny (id int, v vector(3));
INSERT INTO pq_tiny VALUES (1, '[1,2,3]'), (2, '[4,5,6]'), (3, NULL);
CREATE INDEX ON pq_tiny USING pq (v vector_l2_ops);
ANALYZE pq_tiny;
EXPLAIN (COSTS OFF) SELECT id FROM pq_tiny ORDER BY v <-> '[1,1,1]' LIMIT 1;

-- filters in the index: the same rows as without it, all of them
SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM pq_items WHERE price < 5 AND kind = 'b' ORDER BY v <-> probe(17) LIMIT 10;
CREATE FUNCTION same(cond text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
	q text := format('SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM pq_items WHERE %s ORDER BY v <-> probe(17) LIMIT 10000) x', cond);
	a int[];
	b int[];
BEGIN
	SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexscan = on; SET LOCAL enable_sort = off;
	EXECUTE q INTO a;
	SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on;
	EXECUTE q INTO b;
	RETURN a IS NOT DISTINCT FROM b;
END $$;
SELECT cond, same(cond) FROM (VALUES ('true'), ('price < 5'), ('price <= 5::int8'), ('price = 7::int2'), ('price >= 90'), ('price > 98'),
	('kind = ''b'''), ('kind > ''c'''), ('score IS NULL'), ('score IS NOT NULL AND score < 3'), ('score = ''NaN'''),
	('day >= ''2026-12-01'''), ('price = 1000'), ('price = NULL'), ('price < 50 AND kind <> ''a''')) c (cond);

-- every row comes once, in any mode but off; strict keeps the order
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM pq_items ORDER BY v <-> probe(17) LIMIT 100000) x;
SET jflow.pq_iterative_scan = strict;
SELECT bool_and(d >= previous) FROM (SELECT d, lag(d, 1, 0::float8) OVER () previous FROM
	(SELECT v <-> probe(17) AS d FROM pq_items ORDER BY v <-> probe(17) LIMIT 100000) x) y;
SET jflow.pq_iterative_scan = off;
SELECT count(*) < 10 AS less FROM (SELECT id FROM pq_items WHERE id % 100 = 0 ORDER BY v <-> probe(17) LIMIT 10) x;
RESET jflow.pq_iterative_scan;

-- what changes is found, what is deleted is not; slots are used again
UPDATE pq_items SET v = probe(17), price = 999 WHERE id = 4000;
SELECT id FROM pq_items WHERE price = 999 ORDER BY v <-> probe(17) LIMIT 3;
DELETE FROM pq_items WHERE id % 2 = 0;
VACUUM (FREEZE) pq_items;
SELECT jflow_pq_check('pq_v');
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM pq_items ORDER BY v <-> probe(17) LIMIT 100000) x;
SELECT pages AS before FROM jflow_pq_info('pq_v') \gset
INSERT INTO pq_items SELECT id + 1, v, h, s, price, kind, score, day FROM pq_items;
SELECT jflow_pq_check('pq_v'), pages <= :before + 20 AS reused FROM jflow_pq_info('pq_v');
DELETE FROM pq_items;
VACUUM (FREEZE) pq_items;
SELECT jflow_pq_check('pq_v');
SELECT id FROM pq_items ORDER BY v <-> '[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]' LIMIT 1;

-- few rows, equal rows, zero vectors, many dimensions
SELECT id FROM pq_tiny ORDER BY v <-> '[4,5,5]' LIMIT 5;
SELECT id FROM pq_tiny ORDER BY v <-> NULL::vector LIMIT 5;
CREATE TABLE pq_same (id int, v vector(8));
INSERT INTO pq_same SELECT i, '[1,2,3,4,5,6,7,8]' FROM generate_series(1, 20000) i;
CREATE INDEX pq_same_v ON pq_same USING pq (v vector_cosine_ops) WITH (lists = 10);
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM pq_same ORDER BY v <=> '[1,2,3,4,5,6,7,9]' LIMIT 30000) x;
INSERT INTO pq_same VALUES (0, '[0,0,0,0,0,0,0,0]');
SELECT jflow_pq_check('pq_same_v');
SELECT count(*) FROM (SELECT id FROM pq_same ORDER BY v <=> '[0,0,0,0,0,0,0,0]' LIMIT 30000) x;
CREATE TABLE pq_wide (id int, v vector(5215), s sparsevec(100000));
INSERT INTO pq_wide SELECT i, (SELECT array_agg(sin(i * j)) FROM generate_series(1, 5215) j)::vector,
	format('{%s:1,%s:2,%s:0.5}/100000', i * 3 + 1, i * 5 + 10000, 50000 + i % 7)::sparsevec FROM generate_series(1, 300) i;
CREATE INDEX pq_wide_v ON pq_wide USING pq (v vector_l2_ops);
CREATE INDEX pq_wide_s ON pq_wide USING pq (s sparsevec_cosine_ops);
SELECT id FROM pq_wide ORDER BY v <-> (SELECT v FROM pq_wide WHERE id = 42) LIMIT 1;
SELECT id FROM pq_wide ORDER BY s <=> (SELECT s FROM pq_wide WHERE id = 42) LIMIT 1;
SELECT jflow_pq_check('pq_wide_v'), jflow_pq_check('pq_wide_s');

-- a plan that is kept, a cursor, a nested loop
SELECT q.id, n.id FROM (SELECT * FROM pq_wide WHERE id <= 3) q,
	LATERAL (SELECT id FROM pq_wide w ORDER BY w.v <-> q.v LIMIT 1) n ORDER BY 1;

-- values whose squares overflow: no row is lost, and those that can be told apart are in order
CREATE TABLE pq_huge (id int, v vector(2), s sparsevec(2000));
INSERT INTO pq_huge SELECT i, ARRAY[i * 1e25, 1e25]::vector, format('{1:%s,%s:%s}/2000', i * 1e36, i + 1, -3e38)::sparsevec FROM generate_series(1, 100) i;
INSERT INTO pq_huge SELECT i, ARRAY[i * 1e12, 1e12]::vector, format('{1:%s}/2000', i)::sparsevec FROM generate_series(101, 300) i;
CREATE INDEX pq_huge_l2 ON pq_huge USING pq (v vector_l2_ops);
SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM pq_huge ORDER BY v <-> '[0,0]' LIMIT 1000) x;
SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM pq_huge ORDER BY v <-> '[3e38,-3e38]' LIMIT 1000) x;
SELECT id FROM pq_huge ORDER BY v <-> '[1.5e14,1e12]' LIMIT 3;
CREATE INDEX pq_huge_ip ON pq_huge USING pq (v vector_ip_ops);
CREATE INDEX pq_huge_cosine ON pq_huge USING pq (v vector_cosine_ops);
CREATE INDEX pq_huge_sparse ON pq_huge USING pq (s sparsevec_l2_ops);
INSERT INTO pq_huge VALUES (301, '[3e38,3e38]', '{1:3e38}/2000'), (302, '[-3e38,1e-38]', '{1:-3e38,2:3e38}/2000');
SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM pq_huge ORDER BY v <#> '[1,1]' LIMIT 1000) x;
SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM pq_huge ORDER BY v <=> '[1,1]' LIMIT 1000) x;
SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM pq_huge ORDER BY s <-> '{1:1}/2000' LIMIT 1000) x;
SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM pq_huge ORDER BY v <-> '[3e38,-3e38]' LIMIT 1000) x;
SELECT jflow_pq_check('pq_huge_l2'), jflow_pq_check('pq_huge_ip'), jflow_pq_check('pq_huge_cosine'), jflow_pq_check('pq_huge_sparse');

-- a query without a direction has no order that strict could keep
SET jflow.pq_iterative_scan = strict;
SELECT count(*) FROM (SELECT id FROM pq_same ORDER BY v <=> '[0,0,0,0,0,0,0,0]' LIMIT 30000) x;
SELECT count(*) FROM (SELECT id FROM pq_same ORDER BY v <=> NULL::vector LIMIT 30000) x;
RESET jflow.pq_iterative_scan;

-- shared codebooks
SELECT jflow_train('wide', 'SELECT v FROM pq_wide', 'l2', 4);
CREATE TABLE pq_shard (id int, v vector(5215));
CREATE INDEX pq_shard_v ON pq_shard USING pq (v vector_l2_ops) WITH (codebook = 'wide');
INSERT INTO pq_shard SELECT id, v FROM pq_wide;
SELECT id FROM pq_shard ORDER BY v <-> (SELECT v FROM pq_wide WHERE id = 42) LIMIT 1;
SELECT lists, codebook FROM jflow_pq_info('pq_shard_v');
CREATE INDEX pq_bad ON pq_tiny USING pq (v vector_l2_ops) WITH (codebook = 'wide');
SET client_min_messages = warning;
CREATE INDEX pq_missing ON pq_tiny USING pq (v vector_l2_ops) WITH (codebook = 'none');
SELECT jflow_train('x', 'SELECT 1', 'l2');
SELECT jflow_train('x', 'SELECT v FROM pq_wide WHERE false', 'l2');
SELECT jflow_train('x', 'SELECT v FROM pq_wide', 'manhattan');

-- refused
CREATE TABLE pq_free (v vector, price int, name text);
CREATE INDEX ON pq_free USING pq (v vector_l2_ops);
CREATE INDEX ON pq_free USING pq (price);
CREATE INDEX ON pq_free USING pq ((v::vector(3)) vector_l2_ops, (ARRAY[name]));
CREATE UNIQUE INDEX ON pq_tiny USING pq (v vector_l2_ops);
CREATE INDEX ON pq_tiny USING pq (v vector_l2_ops) WITH (bits = 8);
CREATE INDEX ON pq_tiny USING pq (v vector_l2_ops) WITH (lists = -1);
SELECT id FROM pq_tiny ORDER BY v <-> '[1,2]' LIMIT 1;
SELECT jflow_pq_check('pq_items_pkey');
SELECT jflow_pq_recall('pq_v', 0);

-- expressions, partial indexes, partitions, unlogged and temporary tables
CREATE INDEX pq_free_v ON pq_free USING pq ((v::vector(3)) vector_l2_ops) WHERE price > 0;
INSERT INTO pq_free SELECT ARRAY[i, i, i]::vector, i % 2 FROM generate_series(1, 500) i;
SELECT v FROM pq_free WHERE price > 0 ORDER BY v::vector(3) <-> '[7.1,7,7]' LIMIT 2;
CREATE TABLE pq_part (id int, shard int, v vector(3)) PARTITION BY LIST (shard);
CREATE TABLE pq_part_0 PARTITION OF pq_part FOR VALUES IN (0);
CREATE TABLE pq_part_1 PARTITION OF pq_part FOR VALUES IN (1);
INSERT INTO pq_part SELECT i, i % 2, ARRAY[i, i % 10, 1]::vector FROM generate_series(1, 4000) i;
CREATE INDEX ON pq_part USING pq (v vector_l2_ops);
ANALYZE pq_part;
EXPLAIN (COSTS OFF) SELECT id FROM pq_part ORDER BY v <-> '[100,1,1]' LIMIT 4;
SELECT id FROM pq_part ORDER BY v <-> '[100,0,1]' LIMIT 1;
CREATE UNLOGGED TABLE pq_unlogged (v vector(3));
CREATE INDEX pq_unlogged_v ON pq_unlogged USING pq (v vector_l2_ops);
INSERT INTO pq_unlogged VALUES ('[1,2,3]');
SELECT v FROM pq_unlogged ORDER BY v <-> '[1,1,1]' LIMIT 1;
CREATE TEMP TABLE pq_temp (v vector(3));
CREATE INDEX pq_temp_v ON pq_temp USING pq (v vector_l2_ops);
INSERT INTO pq_temp VALUES ('[1,2,3]');
SELECT v FROM pq_temp ORDER BY v <-> '[1,1,1]' LIMIT 1;

-- concurrent and repeated builds
CREATE INDEX CONCURRENTLY pq_later ON pq_same USING pq (v vector_l2_ops);
REINDEX INDEX CONCURRENTLY pq_later;
SELECT jflow_pq_check('pq_later');
BEGIN;
TRUNCATE pq_same;
INSERT INTO pq_same VALUES (1, '[1,2,3,4,5,6,7,8]');
SELECT id FROM pq_same ORDER BY v <-> '[1,2,3,4,5,6,7,9]' LIMIT 2;
ROLLBACK;
SELECT count(*) FROM (SELECT id FROM pq_same ORDER BY v <-> '[1,2,3,4,5,6,7,9]' LIMIT 30000) x;

SELECT jflow_pq_kernels();
SELECT opcname FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'pq' AND NOT amvalidate(c.oid);
DROP TABLE pq_items, pq_tiny, pq_same, pq_wide, pq_huge, pq_shard, pq_free, pq_part, pq_unlogged, pq_temp;
DROP FUNCTION probe, try, same;
