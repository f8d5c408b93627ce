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
\getenv setup PG_ABS_SRCDIR
\set setup :setup /sql/recall.setup
\i :setup
CREATE TABLE found (op text, k int, recall float8);
CREATE INDEX t_e ON t USING pq (e sparsevec_l2_ops);
INSERT INTO found SELECT '<->', k, recall('<->', k) FROM unnest('{10,100}'::int[]) k;
DROP INDEX t_e;
CREATE INDEX t_e ON t USING pq (e sparsevec_cosine_ops);
INSERT INTO found SELECT '<=>', k, recall('<=>', k) FROM unnest('{10,100}'::int[]) k;
DROP INDEX t_e;
CREATE INDEX t_e ON t USING pq (e sparsevec_ip_ops);
INSERT INTO found SELECT '<#>', k, recall('<#>', k) FROM unnest('{10,100}'::int[]) k;
SELECT op, k, recall FROM found WHERE (recall >= 0.9) IS NOT TRUE;
SELECT avg(recall) >= 0.96 AS goal_kept FROM found;
DROP SCHEMA pq_projected CASCADE;
