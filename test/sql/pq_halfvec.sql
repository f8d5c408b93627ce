-- Does a pq index on halfvec answer under each metric, as its build and inserts left it?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_halfvec;
SET search_path = pq_halfvec, public;

-- 1,500 points around 25 centres, the same on every machine
CREATE FUNCTION noise(a int, b int) RETURNS float8 IMMUTABLE PARALLEL SAFE LANGUAGE sql
	RETURN ('x' || substr(md5(a || ',' || b), 1, 6))::bit(24)::int / 16777216.0;
CREATE FUNCTION point(i int) RETURNS halfvec IMMUTABLE PARALLEL SAFE LANGUAGE sql
	RETURN (SELECT array_agg(noise(i % 25, j) * 2 - 1 + noise(1000 + i, j) * 0.5 ORDER BY j) FROM generate_series(1, 24) j)::vector::halfvec;
CREATE TABLE items (id int PRIMARY KEY, embedding halfvec(24));
INSERT INTO items SELECT i, point(i) FROM generate_series(1, 1500) i;
CREATE TABLE queries AS SELECT i, point(100000 + i) AS q FROM generate_series(1, 20) i;
ANALYZE items;

-- how many of the 10 nearest rows a scan of the index finds, ties included
CREATE FUNCTION recall(op text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	r record;
	farthest float8;
	hits int;
	found int := 0;
BEGIN
	FOR r IN SELECT q FROM queries LOOP
		SET LOCAL enable_indexscan = off;
		SET LOCAL enable_seqscan = on;
		EXECUTE format('SELECT max(d) FROM (SELECT embedding %s $1 AS d FROM items WHERE embedding IS NOT NULL ORDER BY d LIMIT 10) t', op)
			INTO farthest USING r.q;
		SET LOCAL enable_indexscan = on;
		SET LOCAL enable_seqscan = off;
		EXECUTE format('SELECT count(*) FROM (SELECT embedding %s $1 AS d FROM items ORDER BY embedding %s $1 LIMIT 10) t WHERE d <= $2', op, op)
			INTO hits USING r.q, farthest;
		found := found + hits;
	END LOOP;
	RETURN found / 200.0;
END $$;

-- rows that a scan to its end returns, and those it returns twice
CREATE FUNCTION returned(op text, OUT rows int8, OUT twice int8) LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_sort = off;
	EXECUTE format('SELECT count(*), count(*) - count(DISTINCT id) FROM (SELECT id FROM items ORDER BY embedding %s $1 LIMIT 100000) t', op)
		INTO rows, twice USING (SELECT q FROM queries WHERE i = 1);
END $$;

-- pairs of neighbours that come in the wrong order among the first 50
CREATE FUNCTION disorder(op text) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
	n int8;
BEGIN
	SET LOCAL enable_seqscan = off;
	SET LOCAL jflow.pq_iterative_scan = strict;
	EXECUTE format('SELECT count(*) FROM (SELECT d < lag(d) OVER (ORDER BY n) AS wrong FROM (SELECT row_number() OVER () AS n, d FROM (SELECT embedding %s $1 AS d FROM items ORDER BY embedding %s $1 LIMIT 50) t) u) v WHERE wrong', op, op)
		INTO n USING (SELECT q FROM queries WHERE i = 2);
	RETURN n;
END $$;

SET enable_seqscan = off;
SET plan_cache_mode = force_generic_plan;

-- L2 distance
CREATE INDEX items_pq ON items USING pq (embedding halfvec_l2_ops) WITH (lists = 20);
PREPARE p1(halfvec) AS SELECT id FROM items ORDER BY embedding <-> $1 LIMIT 10;
EXPLAIN (COSTS OFF) EXECUTE p1(NULL);
SELECT recall('<->') >= 0.9 AS recall_after_build;
SELECT * FROM returned('<->');
SELECT disorder('<->');
SELECT dims, metric, lists, tuples FROM jflow_pq_info('items_pq');
SELECT jflow_pq_check('items_pq');
INSERT INTO items SELECT i, point(i) FROM generate_series(1501, 2000) i;
SELECT recall('<->') >= 0.9 AS recall_after_inserts;
SELECT * FROM returned('<->');
DELETE FROM items WHERE id % 3 = 0;
SELECT * FROM returned('<->');
VACUUM items;
SELECT jflow_pq_check('items_pq');
SELECT recall('<->') >= 0.9 AS recall_after_vacuum;
SELECT * FROM returned('<->');
DROP INDEX items_pq;
DELETE FROM items;
INSERT INTO items SELECT i, point(i) FROM generate_series(1, 1500) i;
VACUUM ANALYZE items;

-- inner-product distance
CREATE INDEX items_pq ON items USING pq (embedding halfvec_ip_ops) WITH (lists = 20);
PREPARE p2(halfvec) AS SELECT id FROM items ORDER BY embedding <#> $1 LIMIT 10;
EXPLAIN (COSTS OFF) EXECUTE p2(NULL);
SELECT recall('<#>') >= 0.9 AS recall_after_build;
SELECT * FROM returned('<#>');
SELECT disorder('<#>');
SELECT dims, metric, lists, tuples FROM jflow_pq_info('items_pq');
SELECT jflow_pq_check('items_pq');
INSERT INTO items SELECT i, point(i) FROM generate_series(1501, 2000) i;
SELECT recall('<#>') >= 0.9 AS recall_after_inserts;
SELECT * FROM returned('<#>');
DELETE FROM items WHERE id % 3 = 0;
SELECT * FROM returned('<#>');
VACUUM items;
SELECT jflow_pq_check('items_pq');
SELECT recall('<#>') >= 0.9 AS recall_after_vacuum;
SELECT * FROM returned('<#>');
DROP INDEX items_pq;
DELETE FROM items;
INSERT INTO items SELECT i, point(i) FROM generate_series(1, 1500) i;
VACUUM ANALYZE items;

-- cosine distance
CREATE INDEX items_pq ON items USING pq (embedding halfvec_cosine_ops) WITH (lists = 20);
PREPARE p3(halfvec) AS SELECT id FROM items ORDER BY embedding <=> $1 LIMIT 10;
EXPLAIN (COSTS OFF) EXECUTE p3(NULL);
SELECT recall('<=>') >= 0.9 AS recall_after_build;
SELECT * FROM returned('<=>');
SELECT disorder('<=>');
SELECT dims, metric, lists, tuples FROM jflow_pq_info('items_pq');
SELECT jflow_pq_check('items_pq');
INSERT INTO items SELECT i, point(i) FROM generate_series(1501, 2000) i;
SELECT recall('<=>') >= 0.9 AS recall_after_inserts;
SELECT * FROM returned('<=>');
DELETE FROM items WHERE id % 3 = 0;
SELECT * FROM returned('<=>');
VACUUM items;
SELECT jflow_pq_check('items_pq');
SELECT recall('<=>') >= 0.9 AS recall_after_vacuum;
SELECT * FROM returned('<=>');
DROP INDEX items_pq;
DELETE FROM items;
INSERT INTO items SELECT i, point(i) FROM generate_series(1, 1500) i;
VACUUM ANALYZE items;

-- an index serves its own operator only
CREATE INDEX items_pq ON items USING pq (embedding halfvec_l2_ops);
PREPARE p4(halfvec) AS SELECT id FROM items ORDER BY embedding <=> $1 LIMIT 10;
EXPLAIN (COSTS OFF) EXECUTE p4(NULL);
PREPARE p5(halfvec) AS SELECT id FROM items ORDER BY embedding <-> $1 DESC LIMIT 10;
EXPLAIN (COSTS OFF) EXECUTE p5(NULL);
RESET enable_seqscan;

DROP SCHEMA pq_halfvec CASCADE;
DEALLOCATE ALL;
