-- Does an index find what it promises whatever its table has gone through?
SET client_min_messages = warning;
SET jit = off;
CREATE SCHEMA pq_life;
SET search_path = pq_life, public;
CREATE FUNCTION vec(i int, d int, shift float8 DEFAULT 0) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$SELECT array_agg(shift + sin(i * 0.7301 * j + j * j) + cos(i * 0.1177 * j) + sin(i * 0.013 + j))::vector FROM generate_series(1, d) j$$;
-- part of the k nearest rows that the index on a table finds, over queries that are no rows
CREATE FUNCTION recall(tab regclass, d int, k int DEFAULT 10, op text DEFAULT '<->', shift float8 DEFAULT 0, col text DEFAULT 'e', queries int DEFAULT 20)
RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	type text := (SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = tab AND attname = col);
	q text;
	far float8;
	n int;
	found int := 0;
BEGIN
	FOR i IN 1 .. queries LOOP
		q := format('%L::vector::%s', vec(-i, d, shift), type);
		PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true);
		EXECUTE format('SELECT max(x) FROM (SELECT %I %s %s AS x FROM %s ORDER BY 1 LIMIT %s) y', col, op, q, tab, k) INTO far;
		PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
		EXECUTE format('SELECT count(*) FROM (SELECT %I %s %s AS x FROM %s ORDER BY %1$I %2$s %3$s LIMIT %5$s) y WHERE x <= %6$s + abs(%6$s) * 1e-5',
			col, op, q, tab, k, far) INTO n;
		found := found + n;
	END LOOP;
	RETURN round(found / (k * queries)::numeric, 3);
END $$;

-- made before the rows come
CREATE TABLE t (id serial, e vector(16), h halfvec(16), s sparsevec(16), w vector(2100));
CREATE INDEX t_l2 ON t USING pq (e vector_l2_ops);
CREATE INDEX t_ip ON t USING pq (h halfvec_ip_ops);
CREATE INDEX t_cosine ON t USING pq (s sparsevec_cosine_ops);
CREATE INDEX t_wide ON t USING pq (w vector_l2_ops);
INSERT INTO t (e, h, s) SELECT v, v, v::sparsevec FROM (SELECT vec(i, 16) AS v FROM generate_series(1, 3000) i) x;
INSERT INTO t (w) SELECT vec(i, 2100) FROM generate_series(1, 100) i;
SELECT recall('t', 16) >= 0.95 AS l2, recall('t', 16, 100) >= 0.95 AS l2_100, recall('t', 16, op => '<#>', col => 'h') >= 0.95 AS ip,
	recall('t', 16, op => '<=>', col => 's') >= 0.95 AS cosine, recall('t', 2100, col => 'w', queries => 3) >= 0.95 AS wide;
SELECT jflow_pq_check('t_l2') AS l2, jflow_pq_check('t_ip') AS ip, jflow_pq_check('t_cosine') AS cosine, jflow_pq_check('t_wide') AS wide;

-- TRUNCATE and other rows; a table like it; partitions that are added; one row at the build
TRUNCATE t;
INSERT INTO t (e) SELECT vec(i, 16, 5) FROM generate_series(1, 3000) i;
SELECT recall('t', 16, shift => 5) >= 0.95 AS truncated;
CREATE TABLE u (LIKE t INCLUDING ALL);
INSERT INTO u SELECT * FROM t;
SELECT recall('u', 16, shift => 5) >= 0.95 AS made_like_it;
CREATE TABLE p (id int, e vector(16)) PARTITION BY RANGE (id);
CREATE INDEX ON p USING pq (e vector_l2_ops);
CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (1500);
CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (1500) TO (10000);
INSERT INTO p SELECT i, vec(i, 16) FROM generate_series(1, 3000) i;
SELECT recall('p', 16) >= 0.95 AS partitions;
TRUNCATE u;
INSERT INTO u (e) VALUES (vec(1, 16));
REINDEX TABLE u;
INSERT INTO u (e) SELECT vec(i, 16) FROM generate_series(2, 3000) i;
SELECT recall('u', 16) >= 0.95 AS built_on_one;
-- rows far from the origin, and far from each other, before anything is learned
TRUNCATE t;
INSERT INTO t (e) SELECT vec(i, 16, 1e4) FROM generate_series(1, 450) i;
INSERT INTO t (e) SELECT vec(i, 16) FROM generate_series(1, 450) i;
SELECT recall('t', 16, shift => 1e4) >= 0.95 AS far, recall('t', 16) >= 0.95 AS near;

-- every row once, in order, through deletes, slots that are used again, and filters
DELETE FROM t WHERE id % 3 = 0;
VACUUM (FREEZE) t;
INSERT INTO t (e) SELECT vec(i, 16, 3) FROM generate_series(1, 500) i;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT count(*) = (SELECT count(*) FROM t WHERE e IS NOT NULL) AS every, count(*) = count(DISTINCT id) AS once, bool_and(d >= before) AS in_order
FROM (SELECT id, d, lag(d, 1, d) OVER () AS before FROM (SELECT id, e <-> vec(-1, 16) AS d FROM t ORDER BY e <-> vec(-1, 16) LIMIT 100000) x) y;
VACUUM (FREEZE) t;
DO $$ BEGIN FOR i IN 1..3000 LOOP EXIT WHEN NOT (SELECT due FROM jflow_pq_info('t_l2')); PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT jflow_pq_check('t_l2') = count(*) AS sound FROM t WHERE e IS NOT NULL;

-- where the origin is and what the unit is makes no difference to what is learned
CREATE TABLE far (id serial, e vector(16), h halfvec(16), s sparsevec(16));
INSERT INTO far (e, h, s) SELECT vec(i, 16, 1e4), vec(i, 16, 30), vec(i, 16, 100)::sparsevec FROM generate_series(1, 4000) i;
CREATE INDEX far_l2 ON far USING pq (e vector_l2_ops);
CREATE INDEX far_ip ON far USING pq (h halfvec_ip_ops);
CREATE INDEX far_cosine ON far USING pq (s sparsevec_cosine_ops);
SELECT recall('far', 16, shift => 1e4) >= 0.9 AS l2, recall('far', 16, op => '<#>', col => 'h') >= 0.9 AS ip,
	recall('far', 16, op => '<=>', shift => 100, col => 's') >= 0.9 AS cosine;
SELECT jflow_pq_check('far_l2') AS l2, jflow_pq_check('far_ip') AS ip, jflow_pq_check('far_cosine') AS cosine;
-- rows on a wall: the way there, which rows as queries have in common, is the one in which they do not differ
CREATE TABLE wall (id serial, e vector(16));
INSERT INTO wall (e) SELECT (ARRAY[1000]::real[] || vec(i, 15)::real[])::vector FROM generate_series(1, 4000) i;
CREATE INDEX wall_ip ON wall USING pq (e vector_ip_ops);
SELECT recall('wall', 16, op => '<#>') >= 0.9 AS wall, recall('wall', 16, 30, op => '<#>') >= 0.9 AS wall_30;
CREATE TABLE city (id serial, e vector(2));
INSERT INTO city (e) SELECT ARRAY[500000 + 1000 * abs(sin(i * 1.37)), 4649776 + 1000 * abs(cos(i * 0.73))]::vector FROM generate_series(1, 6000) i;
CREATE INDEX ON city USING pq (e vector_l2_ops);
CREATE FUNCTION here(i int) RETURNS vector LANGUAGE sql IMMUTABLE AS
	'SELECT ARRAY[500000 + 1000 * abs(cos(i * 2.1)), 4649776 + 1000 * abs(sin(i * 3.3))]::vector';
WITH q AS MATERIALIZED (SELECT here(i) AS e FROM generate_series(1, 10) i),
	far AS MATERIALIZED (SELECT q.e, max(d) AS far FROM q, LATERAL (SELECT t.e <-> q.e AS d FROM city t ORDER BY (t.e <-> q.e) + 0 LIMIT 10) x GROUP BY 1)
SELECT count(*) >= 90 AS city FROM far, LATERAL (SELECT t.e <-> far.e AS d FROM city t ORDER BY t.e <-> far.e LIMIT 10) x WHERE d <= far;
CREATE TABLE small AS SELECT i AS id, (SELECT array_agg(x * 1e-6) FROM unnest(vec(i, 16)::real[]) x)::vector(16) AS e FROM generate_series(1, 4000) i;
CREATE INDEX ON small USING pq (e vector_l2_ops);
CREATE FUNCTION shrunk(i int) RETURNS vector LANGUAGE sql IMMUTABLE AS 'SELECT array_agg(x * 1e-6)::vector FROM unnest(vec(-i, 16)::real[]) x';
WITH q AS MATERIALIZED (SELECT shrunk(i) AS e FROM generate_series(1, 10) i),
	far AS MATERIALIZED (SELECT q.e, max(d) AS far FROM q, LATERAL (SELECT t.e <-> q.e AS d FROM small t ORDER BY (t.e <-> q.e) + 0 LIMIT 10) x GROUP BY 1)
SELECT count(*) >= 90 AS small FROM far, LATERAL (SELECT t.e <-> far.e AS d FROM small t ORDER BY t.e <-> far.e LIMIT 10) x WHERE d <= far;
DROP SCHEMA pq_life CASCADE;
