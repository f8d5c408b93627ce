-- Does an index that learned from a handful of rows of a kind find the many of that kind that come later?
SET client_min_messages = warning;
SET jit = off;
CREATE SCHEMA pq_handful;
SET search_path = pq_handful, public;
CREATE FUNCTION x(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE RETURN
	hashint8extended(i::int8 * 4096 + j, 7) / 9223372036854775808.0;
-- a row around a place that is p times as far from the origin as another
CREATE FUNCTION place(i int, d int, p float8) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(p * sin(j * 1.3) + x(i, j) + x(i, j + 1000) + x(i, j + 2000))::vector FROM generate_series(1, d) j $$;
CREATE TABLE q (e vector);
\getenv setup PG_ABS_SRCDIR
\set setup :setup /sql/recall.setup
\i :setup
/*
 * 2,000 rows of one kind and a handful of another make an index, and 1,000 of the other come.  Which rows it is made of
 * decides by chance what codes these get, so it is made of others time and again.
 */
CREATE FUNCTION handful(op text, class text, type text, d int, p float8, n int, first int) RETURNS float8 LANGUAGE plpgsql AS $$
BEGIN
	DROP TABLE IF EXISTS t;
	EXECUTE format('CREATE TABLE t (e %s(%s))', type, d);
	INSERT INTO t SELECT place(i, d, 1) FROM generate_series(first, first + 1999) i;
	INSERT INTO t SELECT place(i, d, p) FROM generate_series(first + 2000, first + 1999 + n) i;
	EXECUTE format('CREATE INDEX t_e ON t USING pq (e %s_%s_ops)', type, class);
	INSERT INTO t SELECT place(i, d, p) FROM generate_series(first + 3000, first + 3999) i;
	TRUNCATE q;
	INSERT INTO q SELECT place(-first - i, d, p) FROM generate_series(1, 30) i;
	RETURN recall(op, 10);
END $$;
SELECT count(*) AS lives, array_agg((op, d, p, n, first, found)) FILTER (WHERE NOT coalesce(found >= 0.7, false)) AS not_found
FROM (VALUES ('<=>', 'cosine', 'halfvec', -6, '{12,40}'::int[], '{8,16}'::int[], '{0,100000,200000,300000}'::int[]),
	('<=>', 'cosine', 'vector', -2, '{12,40}', '{8,16}', '{0,100000,200000,300000}'),
	('<->', 'l2', 'halfvec', 6, '{12}', '{1,60}', '{0}'), ('<#>', 'ip', 'vector', -6, '{12}', '{1,60}', '{0}')) c (op, class, type, p, ds, ns, firsts),
	unnest(ds) d, unnest(ns) n, unnest(firsts) first,
	LATERAL handful(op, class, type, d, p, n, first) AS found;
