-- Does an ordered scan of the index methods stop where a filter on its distance says, and read no more than all of the index?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA index_limit;
SET search_path = index_limit, public;
CREATE FUNCTION h(a int, b int) RETURNS int IMMUTABLE PARALLEL SAFE LANGUAGE sql
	RETURN ('x' || substr(md5(a || ':' || b), 1, 7))::bit(28)::int;
CREATE TABLE t (id int, e vector(8), s sparsevec(30));
INSERT INTO t SELECT i, (SELECT array_agg(h(i, j) / 268435456.0) FROM generate_series(1, 8) j)::vector,
	CASE WHEN i % 100 = 0 THEN '{}/30' ELSE format('{%s:%s,%s:2}/30', 1 + i % 15, h(i, 0) / 1e8 - 1, 16 + h(i, 9) % 15) END::sparsevec FROM generate_series(1, 8000) i;
CREATE INDEX t_l2 ON t USING pq (e vector_l2_ops);
CREATE INDEX t_cosine ON t USING pq (e vector_cosine_ops);
CREATE INDEX t_ip ON t USING pq (e vector_ip_ops);
CREATE INDEX t_inverted_ip ON t USING inverted (s sparsevec_ip_ops);
CREATE INDEX t_inverted_cosine ON t USING inverted (s sparsevec_cosine_ops);
VACUUM (FREEZE, ANALYZE) t;
SET enable_seqscan = off;
SET enable_sort = off;

-- Pages that the index scan of a statement touches, rows that it returns, and rows that a filter behind it turns away.
CREATE FUNCTION scan_node(plan jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT CASE WHEN plan->>'Node Type' = 'Index Scan' THEN plan ELSE (SELECT scan_node(p) FROM jsonb_array_elements(plan->'Plans') p WHERE p->>'Parent Relationship' = 'Outer') END $$;
CREATE FUNCTION work_of(query text, OUT pages int, OUT got int, OUT turned_away int) LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ' || query INTO plan;
	plan := scan_node(plan->0->'Plan');
	pages := (plan->>'Shared Hit Blocks')::int + (plan->>'Shared Read Blocks')::int;
	got := (plan->>'Actual Rows')::float8;
	turned_away := coalesce((plan->>'Rows Removed by Filter')::int, 0);
END $$;

-- a filter says where to stop, in each of its forms: less is read than without, no row is lost, and none behind it is fetched
CREATE TABLE forms (nr serial, distance text, filter text);
INSERT INTO forms (distance, filter) SELECT 'e <-> ''[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]''', f FROM unnest(ARRAY['%s < 0.35', '%s <= 0.35', '0.35 > %s', '0.35 >= %s', '%s BETWEEN 0.1 AND 0.35',
	'%s < 5 AND %1$s < 0.35 AND %1$s < 2', '1 - %s > 0.65', '-%s >= -0.35', '%s * 2 + 1 < 1.7', '2 * %s - 1 < -0.3', '%s / 2 < 0.175', '10 > 9.65 + %s', '0.65 < 1 - %s', '%s < (SELECT 0.35::float8)', 'e <-> (SELECT ''[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]''::vector) < 0.35']) f;
INSERT INTO forms (distance, filter) SELECT 'e <=> ''[0.5,0.1,0.5,0.9,0.5,0.5,0.5,0.5]''', f FROM unnest(ARRAY['%s < 0.03', '1 - %s > 0.97']) f;
INSERT INTO forms (distance, filter) SELECT 'e <#> ''[0.5,0.1,0.5,0.9,0.5,0.5,0.5,0.5]''', f FROM unnest(ARRAY['%s < -3.2', '%s * -1 > 3.2', '-%s > 3.2']) f;
INSERT INTO forms (distance, filter) SELECT 's <#> ''{1:1,17:1}/30''', f FROM unnest(ARRAY['%s < -3', '%s * -1 > 3']) f;
INSERT INTO forms (distance, filter) SELECT 's <=> ''{1:1,17:1}/30''', '%s < 0.1';
SELECT nr, w.got > 0 AS found, w.turned_away <= 3 AS none_behind, 2 * w.pages < a.pages AS less, format(filter, '(' || distance || ')')
FROM forms, work_of(format('SELECT id FROM t WHERE %s ORDER BY %s LIMIT 900', format(filter, '(' || distance || ')'), distance)) w,
	work_of(format('SELECT id FROM t ORDER BY %s LIMIT 900', distance)) a ORDER BY nr;
-- without a LIMIT no row may be missing
CREATE FUNCTION ids(query text) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
	got int[];
BEGIN
	EXECUTE format('SELECT array_agg(id ORDER BY id) FROM (%s) x', query) INTO got;
	RETURN got;
END $$;
SELECT nr, ids(format('SELECT id FROM t WHERE %s ORDER BY %s', format(filter, '(' || distance || ')'), distance)) = ids(format('SELECT id FROM t WHERE %s', format(filter, '(' || distance || ')'))) AS same FROM forms ORDER BY nr;
-- a similarity that is no number is greater than all others
SELECT ids('SELECT id FROM t WHERE 1 - (s <=> ''{1:1,17:1}/30'') > 0.9 ORDER BY s <=> ''{1:1,17:1}/30''') = ids('SELECT id FROM t WHERE 1 - (s <=> ''{1:1,17:1}/30'') > 0.9') AS same,
	ids('SELECT id FROM t WHERE s <=> ''{1:1,17:1}/30'' < ''NaN'' ORDER BY s <=> ''{1:1,17:1}/30''') = ids('SELECT id FROM t WHERE s <=> ''{1:1,17:1}/30'' < ''NaN''') AS same;
-- filters that say nothing of it
SELECT ids(format('SELECT id FROM t WHERE %s AND id < 500 ORDER BY %s', filter, d)) = ids(format('SELECT id FROM t WHERE %s AND id < 500', filter)) AS same, filter
FROM (VALUES ('e <-> ''[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]''')) x(d), LATERAL unnest(ARRAY[d || ' > 0.9', '1 - (' || d || ') < 0.2', 'e <-> ''[0.1,0.5,0.5,0.5,0.5,0.5,0.5,0.5]'' < 0.6', '0 * (' || d || ') < 1', d || ' <> 0.35',
	'e <-> (SELECT ''[0.1,0.5,0.5,0.5,0.5,0.5,0.5,0.5]''::vector) < 0.6']) filter;

-- parameters, that may be NULL
SET plan_cache_mode = force_generic_plan;
PREPARE near(vector, float8) AS SELECT id FROM t WHERE e <-> $1 < $2 ORDER BY e <-> $1 LIMIT 900;
PREPARE all_near(vector) AS SELECT id FROM t ORDER BY e <-> $1 LIMIT 900;
SELECT n.got > 0 AS found, n.turned_away <= 1 AS none_behind, 2 * n.pages < a.pages AS less, w.got AS for_null, w.pages < 30 AS nothing_read
FROM work_of('EXECUTE near(''[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]'', 0.35)') n, work_of('EXECUTE all_near(''[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]'')') a, work_of('EXECUTE near(''[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]'', NULL)') w;
RESET plan_cache_mode;
DEALLOCATE ALL;
-- a join that gives each scan its own
SELECT q.id, (SELECT count(*) FROM (SELECT 1 FROM t WHERE t.e <-> q.e < q.id / 100.0 ORDER BY t.e <-> q.e) x) = (SELECT count(*) FROM t WHERE t.e <-> q.e < q.id / 100.0) AS same FROM t q WHERE id IN (10, 25, 40) ORDER BY q.id;

-- the goal for recall holds for what lies within a bound
SELECT most, bound, (SELECT avg(CASE WHEN x.n = 0 THEN 1 ELSE f.n::float8 / x.n END) FROM (SELECT e FROM t WHERE id % 40 = 3) q,
	LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM t WHERE t.e <-> q.e < bound ORDER BY t.e <-> q.e LIMIT most) y) f,
	LATERAL (SELECT count(*) AS n FROM t WHERE (t.e <-> q.e) + 0 < bound) x) >= 0.94 AS reached
FROM (VALUES (900, 0.3), (900, 0.5), (100, 0.3)) x(most, bound);

-- a scan that wants much of the index reads all fine codes once, however much, and each row once
SELECT relpages AS all_pages FROM pg_class WHERE oid = 't_l2'::regclass \gset
SELECT count, got, pages <= 1.25 * :all_pages + 2 * got AS once FROM (VALUES (1500), (4000), (8000)) n(count), work_of(format('SELECT id FROM t ORDER BY e <-> ''[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]'' LIMIT %s', count)) w;
-- and so does one that meets rows which nobody can see
BEGIN;
DELETE FROM t WHERE e <-> '[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]' < 0.9;
SELECT 8000 - count(*) AS gone FROM (SELECT id FROM t OFFSET 0) x \gset
SELECT :gone > 5000 AS most_are_gone, w.got, w.pages <= 3 * :all_pages + 2 * 8000 AS not_often
FROM work_of('SELECT id FROM t ORDER BY e <-> ''[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]'' LIMIT 100') w;
SELECT ids('SELECT id FROM t ORDER BY e <-> ''[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]'' LIMIT 100') = ids('SELECT id FROM (SELECT * FROM t OFFSET 0) x ORDER BY e <-> ''[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]'' LIMIT 100') AS nearest;
ROLLBACK;
DROP SCHEMA index_limit CASCADE;
