-- Is the index chosen when it should be, and does every way of executing it work?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_plan;
SET search_path = pq_plan, public;
CREATE FUNCTION v(i int) RETURNS vector IMMUTABLE PARALLEL SAFE LANGUAGE sql
	RETURN (SELECT array_agg(('x' || substr(md5((i % 200) || ',' || j), 1, 4))::bit(16)::int / 65536.0 + ('x' || substr(md5(i || '.' || j), 1, 4))::bit(16)::int / 650000.0) FROM generate_series(1, 16) j)::vector;
CREATE TABLE items (id int PRIMARY KEY, kind int, e vector(16));
INSERT INTO items SELECT i, i % 1000, v(i) FROM generate_series(1, 8000) i;
CREATE INDEX items_pq ON items USING pq (e vector_l2_ops, kind);
CREATE TABLE few (id int PRIMARY KEY, e vector(16));
INSERT INTO few SELECT i, v(i) FROM generate_series(1, 20) i;
CREATE INDEX few_pq ON few USING pq (e vector_l2_ops);
ANALYZE items;
ANALYZE few;

-- chosen for few rows of a large table, and for nothing else
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY e <-> '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE kind = 3 ORDER BY e <-> '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]';
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY e <-> '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]';
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE kind = 3;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE id = 3 ORDER BY e <-> '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM few ORDER BY e <-> '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]' LIMIT 1;

-- and under a condition that the index knows nothing of, where few rows are thrown away for it
CREATE TABLE other (id int, n int, e vector(16));
INSERT INTO other SELECT i, i % 1000, (SELECT array_agg(hashint8extended(i::int8 * 16 + j, 1) / 9e18) FROM generate_series(1, 16) j)::vector
	FROM generate_series(1, 40000) i;
CREATE INDEX other_pq ON other USING pq (e vector_l2_ops);
CREATE INDEX other_n ON other (n);
ANALYZE other;
EXPLAIN (COSTS OFF) SELECT id FROM other WHERE n < 10 ORDER BY e <-> array_fill(0.5, '{16}')::vector LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM other WHERE n < 100 ORDER BY e <-> array_fill(0.5, '{16}')::vector LIMIT 10;

-- also where vectors are stored out of line, which a sequential scan reads one by one and is not charged for
CREATE TABLE long (id int, e vector(600));
INSERT INTO long SELECT i, array_agg(sin(i * 0.37 + j * (i % 50)))::vector FROM generate_series(1, 1500) i, generate_series(1, 600) j GROUP BY i;
CREATE INDEX long_e ON long USING pq (e vector_l2_ops);
ANALYZE long;
SELECT pg_table_size('long') > 10 * pg_relation_size('long') AS out_of_line;
PREPARE long_near(vector) AS SELECT id FROM long ORDER BY e <-> $1 LIMIT 10;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE long_near(array_fill(0.5, ARRAY[600])::vector);
RESET plan_cache_mode;

-- a scan without order cannot be forced
SET enable_seqscan = off;
SET enable_bitmapscan = off;
-- and all of the index is looked at, since the answers are not to depend on chance
SET jflow.pq_probes = 1000;
SET jflow.pq_refine = 100;
SELECT count(*) FROM items WHERE kind = 3;
SELECT count(*) FROM items;
SELECT count(*) FROM items WHERE e IS NOT NULL AND kind < 5;

-- partitions are merged
CREATE TABLE parts (id int, shard int, e vector(16)) PARTITION BY LIST (shard);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
INSERT INTO parts SELECT i, i % 3, v(i) FROM generate_series(1, 3000) i;
CREATE INDEX parts_pq ON parts USING pq (e vector_l2_ops);
CREATE TABLE parts_3 PARTITION OF parts FOR VALUES IN (3);
INSERT INTO parts SELECT i, 3, v(i) FROM generate_series(3001, 3100) i;
ANALYZE parts;
EXPLAIN (COSTS OFF) SELECT id FROM parts ORDER BY e <-> '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM parts WHERE shard = 1 ORDER BY e <-> '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]' LIMIT 10;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM parts ORDER BY e <-> v(3) LIMIT 100000) x;
SELECT id FROM parts ORDER BY e <-> v(1234) LIMIT 1;
SELECT id FROM parts ORDER BY e <-> v(3050) LIMIT 1;
ALTER TABLE parts DETACH PARTITION parts_0;
SELECT count(*) FROM (SELECT id FROM parts ORDER BY e <-> v(3) LIMIT 100000) x;
ALTER TABLE parts ATTACH PARTITION parts_0 FOR VALUES IN (0);
SELECT count(*) FROM (SELECT id FROM parts ORDER BY e <-> v(3) LIMIT 100000) x;

-- the nearest of each row: the scan is started again with another query
EXPLAIN (COSTS OFF) SELECT f.id, n.id FROM few f, LATERAL (SELECT id FROM items ORDER BY e <-> f.e LIMIT 1) n;
SELECT count(*) FILTER (WHERE f.id = n.id) FROM few f, LATERAL (SELECT id FROM items ORDER BY e <-> f.e LIMIT 1) n;
SELECT f.id, count(*), count(DISTINCT n.id) FROM (SELECT * FROM few WHERE id <= 3) f, LATERAL (SELECT id FROM items ORDER BY e <-> f.e LIMIT 9000) n GROUP BY 1 ORDER BY 1;
SELECT (SELECT id FROM items i WHERE i.kind = f.id ORDER BY i.e <-> f.e LIMIT 1) = f.id AS itself FROM few f WHERE id <= 3;

-- prepared statements, custom and generic
PREPARE near(vector, int) AS SELECT id FROM items ORDER BY e <-> $1 LIMIT $2;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE near(v(5), 2);
EXECUTE near(v(5), 1);
EXECUTE near(v(77), 1);
EXECUTE near(NULL, 0);
EXECUTE near('[1,2]', 1);
RESET plan_cache_mode;
EXECUTE near(v(78), 1);

-- cursors: in pieces, backward by a copy, two at once, held over commit, over what happens meanwhile
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM items ORDER BY e <-> v(7);
DECLARE b SCROLL CURSOR FOR SELECT id FROM items ORDER BY e <-> v(9);
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY e <-> v(11) LIMIT 3;
FETCH 1 FROM a;
FETCH 1 FROM b;
MOVE 5 FROM b;
FETCH ABSOLUTE 1 FROM b;
INSERT INTO items SELECT i, 1, v(i) FROM generate_series(8001, 8100) i;
DELETE FROM items WHERE id BETWEEN 100 AND 199;
MOVE ALL FROM a;
COMMIT;
FETCH 1 FROM c;
CLOSE c;

-- rolled back inserts are not returned, committed ones are
BEGIN;
INSERT INTO items SELECT i, 1, v(i) FROM generate_series(9001, 9100) i;
SELECT count(*) FROM (SELECT id FROM items ORDER BY e <-> v(1) LIMIT 100000) x;
SAVEPOINT s;
DELETE FROM items WHERE id > 9050;
SELECT count(*) FROM (SELECT id FROM items ORDER BY e <-> v(1) LIMIT 100000) x;
ROLLBACK TO s;
SELECT count(*) FROM (SELECT id FROM items ORDER BY e <-> v(1) LIMIT 100000) x;
ROLLBACK;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY e <-> v(1) LIMIT 100000) x;
VACUUM (FREEZE) items;
SELECT count(*), count(DISTINCT id), jflow_pq_check('items_pq') FROM (SELECT id FROM items ORDER BY e <-> v(1) LIMIT 100000) x;

-- a locked row is still found, and what another column's update does to it
SELECT id FROM items ORDER BY e <-> v(42) LIMIT 1 FOR UPDATE;
UPDATE items SET kind = 5000 WHERE id = 42;
SELECT id, kind FROM items ORDER BY e <-> v(42) LIMIT 1;
SELECT id FROM items WHERE kind = 5000 ORDER BY e <-> v(42) LIMIT 5;

-- with workers about
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET min_parallel_index_scan_size = 0;
SELECT id FROM items ORDER BY e <-> v(43) LIMIT 1;
SELECT count(*) FROM few f WHERE f.id = (SELECT i.id FROM items i ORDER BY i.e <-> f.e LIMIT 1);
RESET max_parallel_workers_per_gather;

-- rows that change again and again, with VACUUM between, do not make the index grow, but for pages of what has been learned anew
-- waits until nobody here has a snapshot for which VACUUM must keep what was changed before
CREATE PROCEDURE all_see() LANGUAGE plpgsql AS $$
DECLARE
	mine int8 := pg_current_xact_id()::text::int8;
BEGIN
	WHILE EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
			AND backend_xmin::text::int8 < mine) LOOP
		PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
	END LOOP;
END $$;
SELECT pages AS before FROM jflow_pq_info('items_pq') \gset
\set ECHO none
SELECT format('UPDATE items SET e = v(id + %s) WHERE id %% 4 = %s', i, i % 4), 'CALL all_see()', 'VACUUM (FREEZE) items' FROM generate_series(1, 12) i \gexec
\set ECHO all
SELECT pages < 3.5 * :before AS bounded, tuples, jflow_pq_check('items_pq') FROM jflow_pq_info('items_pq');
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY e <-> v(1) LIMIT 100000) x;
DROP SCHEMA pq_plan CASCADE;
