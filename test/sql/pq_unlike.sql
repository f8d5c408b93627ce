-- Do queries nearer to the middle than rows are find neighbours that lie in all directions?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_unlike;
SET search_path = pq_unlike, public;
SELECT setseed(0.2);
CREATE FUNCTION noise(width float8) RETURNS vector LANGUAGE sql VOLATILE AS
	'SELECT array_agg(2 * width * (random() + random() + random() - 1.5))::vector FROM generate_series(1, 200)';
-- few clusters have nearly all rows, and most have one, two or three
CREATE TABLE centres AS SELECT i, noise(1) AS e FROM generate_series(1, 300) i;
CREATE TABLE t (e vector(200));
INSERT INTO t SELECT c.e + noise(0.4)
	FROM (SELECT floor(300 ^ random())::int AS c FROM generate_series(1, 2000) i) x JOIN centres c ON c.i = x.c;
CREATE TABLE q AS SELECT c.e * array_fill(0.5, '{200}')::vector + noise(0.5) AS e
	FROM centres c WHERE c.i % 3 = 0;
CREATE INDEX t_e ON t USING pq (e vector_l2_ops);
CREATE FUNCTION recall(k int) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	query text := format('SELECT array_agg(d) FROM (SELECT e <-> $1 AS d FROM t ORDER BY e <-> $1 LIMIT %s) x', k);
	one vector;
	near float8[];
	exact float8[];
	found float8 := 0;
BEGIN
	FOR one IN SELECT e FROM q LOOP
		PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_seqscan', 'on', true);
		EXECUTE query INTO exact USING one;
		PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_seqscan', 'off', true);
		EXECUTE query INTO near USING one;
		found := found + (SELECT count(*)::float8 / k FROM unnest(near) d WHERE d <= exact[k] * (1 + 1e-6));
	END LOOP;
	RETURN found / (SELECT count(*) FROM q);
END $$;
SELECT k, recall FROM (SELECT k, recall(k) FROM unnest('{10,30}'::int[]) k) x WHERE recall < 0.93;
DROP SCHEMA pq_unlike CASCADE;
