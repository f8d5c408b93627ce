-- Do filter columns of every type keep exactly the rows that a sequential scan keeps?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_filter;
SET search_path = pq_filter, public;
CREATE FUNCTION h(a int, b int) RETURNS int IMMUTABLE PARALLEL SAFE LANGUAGE sql
	RETURN ('x' || substr(md5(a || ':' || b), 1, 7))::bit(28)::int;
CREATE TABLE t (id int, e vector(6),
	b bool, c "char", i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, o oid, d date, t time, ts timestamp, tz timestamptz);
INSERT INTO t SELECT i, (SELECT array_agg(h(i, j) / 268435456.0) FROM generate_series(1, 6) j)::vector,
	h(i, 11) % 2 = 0, chr(32 + h(i, 12) % 90)::"char", h(i, 13) % 65536 - 32768, h(i, 14) % 50 * 40000000 - 1000000000, h(i, 15)::int8 * 34359738368 - 4611686018427387904,
	CASE h(i, 16) % 9 WHEN 0 THEN 'NaN' WHEN 1 THEN 'Infinity' WHEN 2 THEN '-Infinity' WHEN 3 THEN '-0' ELSE h(i, 17) % 100 / 10.0 END::float4,
	CASE h(i, 18) % 9 WHEN 0 THEN 'NaN' WHEN 1 THEN 'Infinity' WHEN 2 THEN '-Infinity' WHEN 3 THEN '-0' ELSE h(i, 19) % 100 / 10.0 END::float8,
	(h(i, 20)::int8 * 16)::oid, '2000-01-01'::date + (h(i, 21) % 20000 - 10000), '00:00'::time + h(i, 22) % 86400 * interval '1 s',
	'2020-01-01'::timestamp + h(i, 23) % 1000000 * interval '1 min', '2020-01-01 00:00+00'::timestamptz - h(i, 24) % 1000000 * interval '1 min'
FROM generate_series(1, 2500) i;
-- a NULL here and there, and the ends of each range
UPDATE t SET b = NULL WHERE h(id, 31) % 10 = 0;
UPDATE t SET c = NULL, i2 = NULL WHERE h(id, 32) % 10 = 0;
UPDATE t SET i4 = NULL, i8 = NULL WHERE h(id, 33) % 10 = 0;
UPDATE t SET f4 = NULL, f8 = NULL WHERE h(id, 34) % 10 = 0;
UPDATE t SET o = NULL, d = NULL, t = NULL WHERE h(id, 35) % 10 = 0;
UPDATE t SET ts = NULL, tz = NULL WHERE h(id, 36) % 10 = 0;
UPDATE t SET i2 = 32767, i4 = 2147483647, i8 = 9223372036854775807, o = 4294967295, d = 'infinity', ts = 'infinity', tz = 'infinity', t = '24:00' WHERE id % 50 = 1;
UPDATE t SET i2 = -32768, i4 = -2147483648, i8 = -9223372036854775808, o = 0, d = '-infinity', ts = '-infinity', tz = '-infinity', t = '00:00' WHERE id % 50 = 2;
VACUUM (FREEZE, ANALYZE) t;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops, b, c, i2, i4, i8, f4, f8, o, d, t, ts, tz) WITH (lists = 12);
SELECT jflow_pq_check('t_pq');

-- all conditions of a column are index conditions
SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE i4 < 5::int8 AND i8 >= 3::int2 AND f8 <= 3 AND d = '2001-01-01' AND c > 'a' AND tz IS NULL AND o IS NOT NULL
ORDER BY e <-> '[0,0,0,0,0,0]' LIMIT 10;
-- what is no comparison is filtered behind the index
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE i4 <> 5 AND (i8 < 3 OR i8 > 5) AND i4 % 2 = 0
ORDER BY e <-> '[0,0,0,0,0,0]' LIMIT 10;

CREATE FUNCTION ids(cond text, use_index bool) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
	got int[];
BEGIN
	PERFORM set_config('enable_indexscan', use_index::text, true), set_config('enable_seqscan', (NOT use_index)::text, true),
		set_config('enable_sort', (NOT use_index)::text, true);
	EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM t WHERE %s ORDER BY e <-> ''[0.5,0.5,0.5,0.5,0.5,0.5]'' LIMIT 100000) x', cond) INTO got;
	RETURN (SELECT array_agg(i ORDER BY i) FROM unnest(got) i);
END $$;

-- 600 random conditions: columns, operators, constants from the table and beyond, NULL, one to three at a time
CREATE FUNCTION condition(seed int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	columns text[] := '{b,c,i2,i4,i8,f4,f8,o,d,t,ts,tz}';
	types text[] := '{bool,"\"char\"",int2,int4,int8,float4,float8,oid,date,time,timestamp,timestamptz}';
	ops text[] := '{<,<=,=,>=,>}';
	n int := 1 + h(seed, 1) % 12;
	type text := types[n];
	value text;
BEGIN
	IF h(seed, 2) % 12 = 0 THEN
		RETURN columns[n] || CASE WHEN h(seed, 3) % 2 = 0 THEN ' IS NULL' ELSE ' IS NOT NULL' END;
	END IF;
	EXECUTE format('SELECT %I::text FROM t WHERE id = $1', columns[n]) INTO value USING 1 + h(seed, 4) % 2500;
	IF n BETWEEN 3 AND 5 AND value IS NOT NULL THEN
		-- across widths, out of the column's range as well
		type := types[3 + h(seed, 5) % 3];
		IF h(seed, 6) % 3 = 0 THEN
			value := CASE type WHEN 'int2' THEN (h(seed, 7) % 65536 - 32768)::text WHEN 'int4' THEN (h(seed, 7) * 16::int8 - 2147483648)::text
				ELSE (h(seed, 7)::int8 * 34359738368 - 4611686018427387904)::text END;
		ELSIF value::int8 NOT BETWEEN -32768 AND 32767 AND type = 'int2' OR value::int8 NOT BETWEEN -2147483648 AND 2147483647 AND type = 'int4' THEN
			type := 'int8';
		END IF;
	END IF;
	RETURN format('%I %s %L::%s', columns[n], ops[1 + h(seed, 8) % 5], value, type);
END $$;
CREATE TABLE conditions AS SELECT i, (SELECT string_agg(condition(i * 3 + j), ' AND ') FROM generate_series(0, h(i, 9) % 3) j) AS cond FROM generate_series(1, 600) i;
SELECT cond FROM conditions WHERE ids(cond, true) IS DISTINCT FROM ids(cond, false);
SELECT count(*) FILTER (WHERE n > 0) > 200 AS many_match, count(*) FILTER (WHERE n = 0) > 20 AS some_match_nothing
FROM (SELECT coalesce(cardinality(ids(cond, false)), 0) AS n FROM conditions) x;

-- the same after inserts, updates, deletes and vacuum
INSERT INTO t SELECT id + 10000, e, b, c, i2, i4, i8, f4, f8, o, d, t, ts, tz FROM t WHERE id % 5 = 0;
UPDATE t SET i4 = i2, i2 = h(id, 50) % 100 WHERE id % 7 = 0;
UPDATE t SET f4 = f8, f8 = NULL, b = NOT b WHERE id % 7 = 1;
DELETE FROM t WHERE id % 11 = 0;
VACUUM (FREEZE) t;
SELECT cond FROM conditions WHERE i <= 300 AND ids(cond, true) IS DISTINCT FROM ids(cond, false);
SELECT jflow_pq_check('t_pq') = count(*) FROM t;

-- parameters known only when the scan starts, and a join that changes them
PREPARE by_range(int8, int2) AS SELECT count(*) FROM (SELECT id FROM t WHERE i4 >= $1 AND i2 < $2 ORDER BY e <-> '[0,0,0,0,0,0]' LIMIT 100000) x;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE by_range(0, 100::int2);
EXECUTE by_range(-3000000000, 32767::int2);
EXECUTE by_range(3000000000, 32767::int2);
EXECUTE by_range(NULL, 100::int2);
SELECT count(*) FROM t WHERE i4 >= -3000000000 AND i2 < 32767;
RESET plan_cache_mode;
SELECT q.i, (SELECT count(*) FROM (SELECT 1 FROM t WHERE b = (q.i = 1) ORDER BY e <-> '[0,0,0,0,0,0]' LIMIT 100000) x) = (SELECT count(*) FROM t WHERE b = (q.i = 1)) AS same
FROM (VALUES (0), (1)) q(i);

-- what is asked of the vector leaves the other conditions as they are
SELECT cond, ids(cond, true) IS NOT DISTINCT FROM ids(cond, false) AS same FROM (VALUES
	('e IS NOT NULL AND i2 < 0'), ('i2 < 0 AND e IS NOT NULL AND i4 IS NOT NULL AND f8 > 0'), ('e IS NOT NULL AND o IS NULL'),
	('e IS NOT NULL AND i2 = ANY (''{1,2,3}'')'), ('e IS NULL AND i2 < 0'), ('e IS NOT NULL AND e IS NULL'), ('e IS NOT NULL')) c(cond);

-- a filter that keeps little still finds k rows, most of them the nearest
SET enable_sort = on;
SET jflow.pq_recall = 1;
WITH near AS MATERIALIZED (SELECT id, e <-> '[0.5,0.5,0.5,0.5,0.5,0.5]' AS d FROM t WHERE i2 BETWEEN 0 AND 1000 ORDER BY e <-> '[0.5,0.5,0.5,0.5,0.5,0.5]' LIMIT 10),
exact AS MATERIALIZED (SELECT id FROM (SELECT id, e, i2 FROM t OFFSET 0) x WHERE i2 BETWEEN 0 AND 1000 ORDER BY e <-> '[0.5,0.5,0.5,0.5,0.5,0.5]' LIMIT 10)
SELECT count(*), count(*) FILTER (WHERE id IN (SELECT id FROM exact)) >= 5 AS most_are_nearest FROM near;

-- the goal for recall holds under a filter that keeps few rows, which lie in more lists
RESET jflow.pq_recall;
RESET enable_seqscan;
CREATE TABLE few (id int, keep int2, e vector(24));
INSERT INTO few SELECT i, h(i, 0) % 100,
	(SELECT array_agg((h(i, j) % 1024 + h(i, j) / 262144) / 1024.0 + i % 50 * (j + 3) % 17 / 8.0) FROM generate_series(1, 24) j)::vector
	FROM generate_series(1, 40000) i;
CREATE INDEX few_pq ON few USING pq (e vector_l2_ops, keep);
SET enable_seqscan = off;
SET enable_sort = off;
SELECT kept, avg(recall) > 0.94 AS reached FROM (VALUES (4), (100)) k(kept), (SELECT e FROM few WHERE id % 500 = 0) ask, LATERAL
	(SELECT count(*) / 10.0 AS recall FROM (SELECT id FROM few WHERE keep < kept ORDER BY e <-> ask.e LIMIT 10) found
	JOIN (SELECT id FROM few WHERE keep < kept ORDER BY (e <-> ask.e) + 0.0 LIMIT 10) exact USING (id)) x GROUP BY kept ORDER BY kept;
RESET enable_sort;
RESET enable_seqscan;
DROP SCHEMA pq_filter CASCADE;
