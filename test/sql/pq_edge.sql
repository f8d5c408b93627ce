-- Is no row lost or repeated on odd data?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_edge;
SET search_path = pq_edge, public;
SET enable_seqscan = off;

-- what a scan to its end of table t returns: rows, rows returned twice, and rows of the table with a vector
CREATE FUNCTION returned(query vector, OUT rows int8, OUT twice int8, OUT missing int8) LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL enable_sort = off;
	CREATE TEMP TABLE got ON COMMIT DROP AS SELECT id FROM t ORDER BY e <-> query LIMIT 1000000;
	SELECT count(*), count(*) - count(DISTINCT id) INTO rows, twice FROM got;
	SELECT count(*) INTO missing FROM t WHERE e IS NOT NULL AND id NOT IN (SELECT id FROM got);
	DROP TABLE got;
END $$;

-- an empty table, one row, few rows
CREATE TABLE t (id serial, e vector(3));
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops) WITH (lists = 100);
SELECT * FROM returned('[1,2,3]');
SELECT lists, tuples, dead FROM jflow_pq_info('t_pq');
SELECT jflow_pq_check('t_pq');
INSERT INTO t (e) VALUES ('[1,2,3]');
SELECT * FROM returned('[1,2,3]');
SELECT jflow_pq_check('t_pq');
REINDEX INDEX t_pq;
SELECT * FROM returned('[9,9,9]');
INSERT INTO t (e) SELECT ARRAY[i, i % 3, 1]::vector FROM generate_series(1, 500) i;
SELECT * FROM returned('[9,9,9]');
SELECT id, e FROM t ORDER BY e <-> '[250.2,1,1]' LIMIT 3;
VACUUM (FREEZE) t;
SELECT jflow_pq_check('t_pq');

-- rows without a vector are not in the index, so IS NULL cannot be asked of it
INSERT INTO t (e) SELECT NULL FROM generate_series(1, 50);
SELECT * FROM returned('[9,9,9]');
EXPLAIN (COSTS OFF) SELECT count(*) FROM t WHERE e IS NULL;
SELECT count(*) FROM t WHERE e IS NULL;
SELECT count(*) FROM t WHERE e IS NOT NULL;
SELECT count(*) FROM (SELECT 1 FROM t WHERE e IS NULL ORDER BY e <-> '[1,1,1]' LIMIT 10) x;
SELECT count(*) FROM (SELECT 1 FROM t WHERE e IS NOT NULL ORDER BY e <-> '[1,1,1]' LIMIT 1000) x;
REINDEX INDEX t_pq;
SELECT * FROM returned('[9,9,9]');
SELECT jflow_pq_check('t_pq');

-- deletes of everything, and then rows again
DELETE FROM t;
SELECT * FROM returned('[9,9,9]');
VACUUM (FREEZE) t;
SELECT * FROM returned('[9,9,9]');
SELECT jflow_pq_check('t_pq');
SELECT tuples, dead FROM jflow_pq_info('t_pq');
INSERT INTO t (e) SELECT ARRAY[i, i % 3, 1]::vector FROM generate_series(1, 500) i;
SELECT * FROM returned('[9,9,9]');
TRUNCATE t;
SELECT * FROM returned('[9,9,9]');
INSERT INTO t (e) VALUES ('[1,2,3]');
SELECT * FROM returned('[9,9,9]');
DROP TABLE t;

-- all rows equal, built and inserted
CREATE TABLE t (id serial, e vector(16));
INSERT INTO t (e) SELECT array_fill(0.3, '{16}')::vector FROM generate_series(1, 3000);
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops);
SELECT * FROM returned(array_fill(0.3, '{16}')::vector);
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <-> array_fill(7, '{16}')::vector LIMIT 10) x;
INSERT INTO t (e) SELECT array_fill(0.3, '{16}')::vector FROM generate_series(1, 3000);
SELECT * FROM returned(array_fill(7, '{16}')::vector);
-- other rows among them are all returned, and found first by an index that knows them
INSERT INTO t (e) SELECT array_fill(i, '{16}')::vector FROM generate_series(5, 9) i;
SELECT * FROM returned(array_fill(7, '{16}')::vector);
REINDEX INDEX t_pq;
SELECT id FROM t ORDER BY e <-> array_fill(7, '{16}')::vector LIMIT 1;
VACUUM (FREEZE) t;
SELECT jflow_pq_check('t_pq');
DROP TABLE t;

-- many copies of few vectors
CREATE TABLE t (id serial, e vector(4));
INSERT INTO t (e) SELECT ARRAY[i % 3, 0, 0, 1]::vector FROM generate_series(1, 4000) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops) WITH (lists = 50);
SELECT * FROM returned('[2,0,0,1]');
SELECT min(e <-> '[2,0,0,1]'), max(e <-> '[2,0,0,1]') FROM (SELECT e FROM t ORDER BY e <-> '[2,0,0,1]' LIMIT 1333) x;
DROP TABLE t;

-- vectors of length zero: found under L2 and inner product, never under cosine
CREATE TABLE t (id serial, e vector(4));
INSERT INTO t (e) SELECT ARRAY[i % 10, i % 7, 0, 0]::vector FROM generate_series(0, 699) i;
CREATE INDEX t_pq ON t USING pq (e vector_cosine_ops);
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <=> '[1,0,0,0]' LIMIT 10000) x;
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <=> '[0,0,0,0]' LIMIT 10000) x;
SET jflow.pq_iterative_scan = strict;
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <=> '[0,0,0,0]' LIMIT 10000) x;
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <=> NULL LIMIT 10000) x;
RESET jflow.pq_iterative_scan;
INSERT INTO t (e) VALUES ('[0,0,0,0]'), ('[1,0,0,0]');
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <=> '[1,0,0,0]' LIMIT 10000) x;
SELECT jflow_pq_check('t_pq');
DROP INDEX t_pq;
CREATE INDEX t_pq ON t USING pq (e vector_ip_ops);
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <#> '[1,0,0,0]' LIMIT 10000) x;
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <#> '[0,0,0,0]' LIMIT 10000) x;
DROP INDEX t_pq;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops);
SELECT * FROM returned('[0,0,0,0]');
UPDATE t SET e = '[0,0,0,0]';
REINDEX INDEX t_pq;
SELECT * FROM returned('[0,0,0,0]');
SELECT * FROM returned('[1,0,0,0]');
DROP TABLE t;
CREATE TABLE t (id serial, e vector(4));
INSERT INTO t (e) SELECT '[0,0,0,0]' FROM generate_series(1, 100);
CREATE INDEX t_pq ON t USING pq (e vector_cosine_ops);
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <=> '[1,0,0,0]' LIMIT 10000) x;
DROP TABLE t;

-- numbers near the ends of what a float holds
CREATE TABLE t (id serial, e vector(3));
INSERT INTO t (e) SELECT ARRAY[i * 1e25, 1e25, -1e25]::vector FROM generate_series(1, 100) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops);
SELECT * FROM returned('[0,0,0]');
SELECT * FROM returned('[1e25,1e30,1e38]');
INSERT INTO t (e) VALUES ('[3e38,-3e38,3e38]'), ('[1e-40,1e-40,0]'), ('[1,2,3]');
SELECT * FROM returned('[0,0,0]');
SELECT jflow_pq_check('t_pq');
REINDEX INDEX t_pq;
SELECT * FROM returned('[0,0,0]');
SELECT jflow_pq_check('t_pq');
DROP INDEX t_pq;
CREATE INDEX t_pq ON t USING pq (e vector_ip_ops);
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <#> '[1,2,3]' LIMIT 10000) x;
DROP INDEX t_pq;
CREATE INDEX t_pq ON t USING pq (e vector_cosine_ops);
SELECT count(*) >= 100 FROM (SELECT id FROM t ORDER BY e <=> '[1,2,3]' LIMIT 10000) x;
DROP TABLE t;
CREATE TABLE t (id serial, e vector(3));
INSERT INTO t (e) SELECT ARRAY[i, i % 7, i % 13]::vector FROM generate_series(1, 800) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops) WITH (lists = 10);
INSERT INTO t (e) SELECT ARRAY[i * 1e30, 0, -1e20]::vector FROM generate_series(1, 100) i;
SELECT * FROM returned('[0,0,0]');
SELECT * FROM returned('[1e31,0,0]');
DROP TABLE t;

-- tiny numbers
CREATE TABLE t (id serial, e vector(3));
INSERT INTO t (e) SELECT ARRAY[i * 1e-42, 1e-42, 0]::vector FROM generate_series(1, 100) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops);
SELECT * FROM returned('[0,0,0]');
DROP INDEX t_pq;
CREATE INDEX t_pq ON t USING pq (e vector_cosine_ops);
SELECT jflow_pq_check('t_pq') IN (0, 100) AS all_or_none;
DROP TABLE t;

-- 1 dimension, 16,000 dimensions, and what lies between
CREATE TABLE t (id serial, e vector(1));
INSERT INTO t (e) SELECT ARRAY[i]::vector FROM generate_series(1, 700) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops);
SELECT * FROM returned('[3]');
SELECT e FROM t ORDER BY e <-> '[333.3]' LIMIT 3;
DROP INDEX t_pq;
CREATE INDEX t_pq ON t USING pq (e vector_cosine_ops);
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <=> '[3]' LIMIT 10000) x;
DROP TABLE t;
CREATE TABLE t (id int, e vector(16000));
INSERT INTO t SELECT i, (SELECT array_agg(CASE WHEN (j * 31 + i) % 50 = 0 THEN i % 9 + 1 ELSE (j + i) % 5 END ORDER BY j) FROM generate_series(1, 16000) j)::vector
FROM generate_series(1, 120) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops);
SELECT * FROM returned((SELECT e FROM t WHERE id = 7));
SELECT id FROM t ORDER BY e <-> (SELECT e FROM t WHERE id = 7) LIMIT 1;
INSERT INTO t SELECT 1000 + id, e FROM t WHERE id <= 10;
SELECT * FROM returned((SELECT e FROM t WHERE id = 7));
DROP INDEX t_pq;
CREATE INDEX t_pq ON t USING pq (e vector_ip_ops);
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <#> (SELECT e FROM t WHERE id = 7) LIMIT 10000) x;
DROP TABLE t;
CREATE TABLE t (id int, e halfvec(8000));
INSERT INTO t SELECT i, (SELECT array_agg((j * i) % 7 ORDER BY j) FROM generate_series(1, 8000) j)::vector::halfvec FROM generate_series(1, 50) i;
CREATE INDEX t_pq ON t USING pq (e halfvec_cosine_ops);
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <=> (SELECT e FROM t WHERE id = 7) LIMIT 10000) x;
DROP TABLE t;
-- sparse: a billion dimensions, no value at all, one value
CREATE TABLE t (id serial, e sparsevec(1000000000));
INSERT INTO t (e) SELECT format('{%s:1,%s:%s}/1000000000', i, 900000000 + i, i % 5 + 1)::sparsevec FROM generate_series(1, 400) i;
INSERT INTO t (e) VALUES ('{}/1000000000'), ('{5:2}/1000000000');
CREATE INDEX t_pq ON t USING pq (e sparsevec_l2_ops);
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY e <-> '{5:2}/1000000000' LIMIT 10000) x;
SELECT id FROM t ORDER BY e <-> '{5:2}/1000000000' LIMIT 1;
DROP INDEX t_pq;
CREATE INDEX t_pq ON t USING pq (e sparsevec_cosine_ops);
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <=> '{5:2}/1000000000' LIMIT 10000) x;
SELECT jflow_pq_check('t_pq');
DROP TABLE t;

-- the least maintenance_work_mem
CREATE TABLE t (id serial, e vector(64));
INSERT INTO t (e) SELECT (SELECT array_agg((i * j * 7919) % 1009 ORDER BY j) FROM generate_series(1, 64) j)::vector FROM generate_series(1, 3000) i;
SET maintenance_work_mem = '1MB';
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops);
RESET maintenance_work_mem;
SELECT * FROM returned((SELECT e FROM t WHERE id = 5));
SELECT jflow_pq_check('t_pq');
DROP TABLE t;
-- rows that begin alike and are stored in order: all parts of the table are learned from
CREATE TABLE t (id int, e vector(68));
INSERT INTO t SELECT i, (array_fill(0::real, '{64}') || ARRAY[i / 200, i % 200 / 50.0, i % 7 / 50.0, i % 13 / 50.0]::real[])::vector
FROM generate_series(0, 4799) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops) WITH (lists = 16);
SELECT imbalance < 4 AS balanced FROM jflow_pq_info('t_pq');
DROP TABLE t;
-- pages of far more entries than the list before them has: all are candidates, as nothing is known yet
CREATE TABLE t (id int, e vector(2));
INSERT INTO t SELECT i, ARRAY[CASE WHEN i <= 200 THEN i ELSE 1e6 + i END, 0]::vector FROM generate_series(1, 4000) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops) WITH (lists = 2);
-- in a session that has allocated little
\c -
SET search_path = pq_edge, public;
SET enable_seqscan = off;
SET client_min_messages = warning;
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <-> '[-1,0]' LIMIT 3) near WHERE id <= 200;
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <-> '[2e6,0]' LIMIT 3) near WHERE id > 200;
-- more memory than rows can be counted
SET work_mem = '1TB';
SELECT count(*), min(id), max(id) FROM (SELECT id FROM t ORDER BY e <-> '[-1,0]' OFFSET 0) ordered;
RESET work_mem;
DROP TABLE t;
DROP SCHEMA pq_edge CASCADE;
