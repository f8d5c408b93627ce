-- Do the same data and definition give the same index?
SET client_min_messages = warning;
SET jit = off;
CREATE SCHEMA pq_repeat;
SET search_path = pq_repeat, public;
SET max_parallel_maintenance_workers = 0;
SET min_parallel_table_scan_size = 0;
SET maintenance_work_mem = '64MB';
CREATE FUNCTION noise(a int, b int) RETURNS float8 IMMUTABLE PARALLEL SAFE LANGUAGE sql
	RETURN ('x' || substr(md5(a || ',' || b), 1, 6))::bit(24)::int / 16777216.0;
CREATE TABLE t (id int, e vector(16), kind int) WITH (parallel_workers = 3);
INSERT INTO t SELECT i, (SELECT array_agg(noise(i % 50, j) + 0.3 * noise(i, 100 + j)) FROM generate_series(1, 16) j)::vector, i % 7 FROM generate_series(1, 8000) i;
-- copies of rows, whose order no sort by content tells
INSERT INTO t SELECT id + 8000, e, kind FROM t WHERE id % 4 = 0;

-- pages of an index file but for their LSN and checksum; of all kinds, or of the model and its centroids alone
CREATE FUNCTION pages(index regclass, model_only bool, OUT md5 text, OUT n int8) LANGUAGE sql AS $$
	SELECT md5(string_agg(md5(page), ',' ORDER BY block)), count(*) FROM (
		SELECT block, substr(file, block::int * 8192 + 11, 8182) AS page
		FROM (SELECT pg_read_binary_file(pg_relation_filepath(index)) AS file) f, generate_series(0, pg_relation_size(index) / 8192 - 1) block) p
	WHERE NOT model_only OR get_byte(page, 8182 - 4) IN (2, 3)
$$;

CREATE INDEX once ON t USING pq (e vector_l2_ops, kind);
CREATE INDEX again ON t USING pq (e vector_l2_ops, kind);
SET max_parallel_maintenance_workers = 3;
CREATE INDEX workers ON t USING pq (e vector_l2_ops, kind);
CREATE INDEX CONCURRENTLY online ON t USING pq (e vector_l2_ops, kind);
CREATE INDEX other ON t USING pq (e vector_l2_ops, kind) WITH (lists = 90);
CHECKPOINT;
CREATE TABLE first AS SELECT * FROM pages('once', false);
SELECT n > 100 AS pages FROM first;
SELECT index, pages(index, false) = pages('once', false) AS same, jflow_pq_info(index) = jflow_pq_info('once') AS same_facts
FROM unnest('{again,workers,online,other}'::regclass[]) index;

-- from any order of the rows the same is learned, though it is laid out otherwise
CREATE TABLE shuffled AS SELECT * FROM t ORDER BY md5(id::text);
CREATE INDEX shuffled_e ON shuffled USING pq (e vector_l2_ops, kind);
CHECKPOINT;
SELECT n > 1 AS pages, p = pages('once', true) AS same FROM pages('shuffled_e', true) p;

-- statistics of a time when the table was another do not count
CREATE TABLE grown WITH (autovacuum_enabled = off) AS SELECT * FROM t WHERE id <= 100;
ANALYZE grown;
INSERT INTO grown SELECT * FROM t WHERE id > 100;
CREATE INDEX grown_e ON grown USING pq (e vector_l2_ops, kind);
CHECKPOINT;
CREATE TABLE by_old AS SELECT * FROM pages('grown_e', false);
ANALYZE grown;
REINDEX INDEX grown_e;
CHECKPOINT;
SELECT by_old.n > 100 AS pages, p = by_old AS same FROM by_old, pages('grown_e', false) p;
SELECT n.lists = o.lists AS same FROM jflow_pq_info('grown_e') n, jflow_pq_info('once') o;

-- rebuilt, where changes that were taken back had added entries
BEGIN;
UPDATE t SET e = e + e;
ROLLBACK;
CHECKPOINT;
SELECT pages('once', false) = first AS same FROM first;
REINDEX INDEX once;
CHECKPOINT;
SELECT pages('once', false) = first AS same FROM first;
DROP SCHEMA pq_repeat CASCADE;
