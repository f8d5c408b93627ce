-- Do queries nearer to the middle than rows are find neighbours that lie in all directions?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_unlike;
SET search_path = pq_unlike, public;
SELECT setseed(0.2);
CREATE FUNCTION noise(width float8) RETURNS vector LANGUAGE sql VOLATILE AS
	'SELECT array_agg(2 * width * (random() + random() + random() - 1.5))::vector FROM generate_series(1, 200)';
CREATE FUNCTION noise48(width float8) RETURNS vector LANGUAGE sql VOLATILE AS
	'SELECT array_agg(2 * width * (random() + random() + random() - 1.5))::vector FROM generate_series(1, 48)';
-- few clusters have nearly all rows, and most have one, two or three
CREATE TABLE centres AS SELECT i, noise(1) AS e FROM generate_series(1, 300) i;
CREATE TABLE t (e vector(200));
INSERT INTO t SELECT c.e + noise(0.4)
	FROM (SELECT floor(300 ^ random())::int AS c FROM generate_series(1, 2000) i) x JOIN centres c ON c.i = x.c;
CREATE TABLE q AS SELECT c.e * array_fill(0.5, '{200}')::vector + noise(0.5) AS e
	FROM centres c WHERE c.i % 3 = 0;
-- which of these queries are searched for by the rule for queries unlike rows depends on the rows that it learns from
CREATE INDEX t_e ON t USING pq (e vector_l2_ops);
\getenv setup PG_ABS_SRCDIR
\set setup :setup /sql/recall.setup
\i :setup
SELECT k, recall FROM (SELECT k, recall('<->', k) FROM unnest('{10,30}'::int[]) k) x WHERE (recall >= 0.86) IS NOT TRUE;

-- rows in 100 clusters of one size, and queries from where there are none: anywhere, and near the middle of all
CREATE TABLE clusters AS SELECT i, noise48(1) AS e FROM generate_series(1, 100) i;
CREATE TABLE rows AS SELECT c.e + noise48(0.35) AS e FROM generate_series(1, 5000) n JOIN clusters c ON c.i = 1 + n % 100;
ALTER TABLE rows ALTER e TYPE vector(48);
CREATE TABLE strange AS SELECT noise48(CASE WHEN i % 2 = 0 THEN 1 ELSE 0.1 END) AS e FROM generate_series(1, 60) i;
CREATE INDEX rows_l2 ON rows USING pq (e vector_l2_ops);
CREATE INDEX rows_l1 ON rows USING pq (e vector_l1_ops);
CREATE INDEX rows_cosine ON rows USING pq (e vector_cosine_ops);
-- from the middle itself, from anywhere between the ends of coordinates, and far out along an axis
CREATE TABLE middle AS SELECT noise48(0.05) AS e FROM generate_series(1, 60) i;
CREATE TABLE box AS SELECT (SELECT array_agg(least + (greatest - least) * random() + 0 * i ORDER BY j) FROM
	(SELECT j, min(x) AS least, max(x) AS greatest FROM (SELECT e FROM rows LIMIT 1000) r, unnest(e::float4[]) WITH ORDINALITY u(x, j) GROUP BY j) b)::vector AS e
	FROM generate_series(1, 60) i;
CREATE TABLE axis AS SELECT (SELECT array_agg(CASE WHEN j = 1 + i % 48 THEN 6 ELSE 0 END) FROM generate_series(1, 48) j)::vector AS e FROM generate_series(1, 60) i;
-- most coordinates of rows are 0, and queries come from anywhere
SELECT setseed(0.3);
CREATE TABLE sparse AS SELECT (SELECT array_agg(CASE WHEN random() < 0.2 THEN -ln(1 - random()) ELSE 0 END + 0 * i * j) FROM generate_series(1, 32) j)::vector(32) AS e
	FROM generate_series(1, 20000) i;
CREATE TABLE anywhere AS SELECT (SELECT array_agg(7 * random() + 0 * i * j) FROM generate_series(1, 32) j)::vector AS e FROM generate_series(1, 60) i;
CREATE INDEX sparse_l2 ON sparse USING pq (e vector_l2_ops);
-- smooth rows, and queries that are not: a taxicab distance is another Euclidean one for these
CREATE TABLE smooth AS SELECT (SELECT array_agg(a * sin(j * f + p) ORDER BY j) FROM generate_series(1, 32) j)::vector(32) AS e
	FROM (SELECT 0.5 + random() AS a, 0.6 * random() AS f, 6.3 * random() AS p FROM generate_series(1, 1500) i) x;
CREATE TABLE rough AS SELECT (SELECT array_agg(2 * (random() + random() + random() - 1.5) + 0 * i * j) FROM generate_series(1, 32) j)::vector AS e FROM generate_series(1, 60) i;
CREATE INDEX smooth_l1 ON smooth USING pq (e vector_l1_ops);
CREATE FUNCTION recall_of(t text, q text, op text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	query text := format('SELECT array_agg(d) FROM (SELECT e %1$s $1 AS d FROM %2$I ORDER BY e %1$s $1 LIMIT 10) x', op, t);
	one vector;
	near float8[];
	exact float8[];
	found float8[];
BEGIN
	FOR one IN EXECUTE format('SELECT e FROM %I', q) LOOP
		PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_seqscan', 'on', true);
		EXECUTE query INTO exact USING one;
		PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_seqscan', 'off', true);
		EXECUTE query INTO near USING one;
		found := found || (SELECT count(*)::float8 / 10 FROM unnest(near) d WHERE d <= exact[10] * (1 + 1e-6));
	END LOOP;
	RETURN (SELECT avg(x) FROM unnest(found) x);
END $$;
SELECT t, q, op, recall FROM (SELECT t, q, op, recall_of(t, q, op) AS recall FROM (VALUES ('rows', 'strange', '<->'), ('rows', 'strange', '<+>'),
	('rows', 'strange', '<=>'), ('rows', 'middle', '<->'), ('rows', 'middle', '<+>'), ('rows', 'middle', '<=>'),
	('rows', 'box', '<->'), ('rows', 'box', '<+>'), ('rows', 'box', '<=>'), ('rows', 'axis', '<->'), ('rows', 'axis', '<=>'), ('smooth', 'rough', '<+>')) v(t, q, op)) x WHERE (recall >= 0.88) IS NOT TRUE;
SELECT recall FROM recall_of('sparse', 'anywhere', '<->') recall WHERE (recall >= 0.93) IS NOT TRUE;
-- and as many where a condition says how far away they may be
CREATE FUNCTION not_found() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	one vector;
	tenth float8;
	n bigint;
BEGIN
	FOR one IN SELECT e FROM rough LOOP
		PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_seqscan', 'on', true);
		EXECUTE 'SELECT e <+> $1 FROM smooth ORDER BY e <+> $1 OFFSET 9 LIMIT 1' INTO tenth USING one;
		PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_seqscan', 'off', true);
		n := coalesce(n, 0) + 10;
		EXECUTE 'SELECT $3 - count(*) FROM (SELECT FROM smooth WHERE e <+> $1 <= $2 ORDER BY e <+> $1 LIMIT 10) x' INTO n USING one, tenth, n;
	END LOOP;
	RETURN n;
END $$;
SELECT n FROM not_found() n WHERE (n <= 60) IS NOT TRUE;
DROP SCHEMA pq_unlike CASCADE;
