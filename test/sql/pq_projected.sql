-- Is the goal of recall kept for true distances where vectors are projected, which keeps distances only about?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_projected;
SET search_path = pq_projected, public;
SELECT setseed(0.25);
-- up to 16 of 2,000 dimensions, most of them those of one of 40 topics
CREATE FUNCTION point() RETURNS sparsevec LANGUAGE sql VOLATILE AS $$
	SELECT ('{' || string_agg(j || ':' || x, ',' ORDER BY j) || '}/2000')::sparsevec
	FROM (SELECT DISTINCT ON (j) 1 + (topic * 37 + (random() ^ 3 * 2000)::int) % 2000 AS j, (0.2 + random())::real AS x
		FROM (SELECT floor(random() * 40)::int AS topic) t, generate_series(1, 16)) x $$;
CREATE TABLE t (e sparsevec(2000));
INSERT INTO t SELECT point() FROM generate_series(1, 4000);
CREATE TABLE q AS SELECT point() AS e FROM generate_series(1, 60);
-- recall at k of the queries
CREATE FUNCTION recall(op text, k int) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	query text := format('SELECT array_agg(d) FROM (SELECT e %s $1 AS d FROM t ORDER BY e %1$s $1 LIMIT %s) x', op, k);
	one sparsevec;
	near float8[];
	exact float8[];
	found float8 := 0;
BEGIN
	FOR one IN SELECT e FROM q LOOP
		PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_seqscan', 'on', true);
		EXECUTE query INTO exact USING one;
		PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_seqscan', 'off', true);
		EXECUTE query INTO near USING one;
		found := found + (SELECT count(*)::float8 / k FROM unnest(near) d WHERE d <= exact[k] + abs(exact[k]) * 1e-6);
	END LOOP;
	RETURN found / (SELECT count(*) FROM q);
END $$;
CREATE TABLE found (op text, k int, recall float8);
CREATE INDEX t_e ON t USING pq (e sparsevec_l2_ops);
INSERT INTO found SELECT '<->', k, recall('<->', k) FROM unnest('{10,100}'::int[]) k;
DROP INDEX t_e;
CREATE INDEX t_e ON t USING pq (e sparsevec_cosine_ops);
INSERT INTO found SELECT '<=>', k, recall('<=>', k) FROM unnest('{10,100}'::int[]) k;
DROP INDEX t_e;
CREATE INDEX t_e ON t USING pq (e sparsevec_ip_ops);
INSERT INTO found SELECT '<#>', k, recall('<#>', k) FROM unnest('{10,100}'::int[]) k;
SELECT op, k, recall FROM found WHERE recall < 0.9;
SELECT avg(recall) >= 0.96 AS goal_kept FROM found;
DROP SCHEMA pq_projected CASCADE;
