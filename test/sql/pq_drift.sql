-- Does an index find new rows unlike those that it learned from, from the first on, and at each stage of what follows?
SET client_min_messages = warning;
SET jit = off;
CREATE SCHEMA pq_drift;
SET search_path = pq_drift, public;
-- numbers between -1 and 1 that repeat, and about normal ones of them
CREATE FUNCTION x(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE RETURN
	hashint8extended(i::int8 * 4096 + j, 7) / 9223372036854775808.0;
CREATE FUNCTION g(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE RETURN x(i, j) + x(i, j + 1000) + x(i, j + 2000);
/*
 * Row number i of a kind with a parameter: in copies of p vectors, in one place, in a place far away, larger or smaller,
 * in a plane, in a cluster, on a way that leads from place to place, of scales apart
 */
CREATE FUNCTION point(kind text, p float8, i int, d int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(CASE kind
		WHEN 'copies' THEN sin((i % p::int) * 1.7 * j + j * j)
		WHEN 'place' THEN p * sin(j * 1.3) + g(i, j)
		WHEN 'scale' THEN p * g(i, j)
		WHEN 'plane' THEN g(i, 1) * sin(j) + g(i, 2) * cos(j * 1.7)
		WHEN 'cluster' THEN 3 * sin(p * 1.9 * j + j * j + p) + 0.3 * g(i, j)
		WHEN 'way' THEN 4 * sin(i * p + j) + 0.3 * g(i, j)
		WHEN 'scales' THEN exp(1.5 * g(i, 0)) * g(i, j)
		END)::vector FROM generate_series(1, d) j $$;
CREATE TABLE q (e vector);
-- recall at k of some queries like the last rows, and of some like any
CREATE FUNCTION recall(op text, k int) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	query text := format('SELECT e %s $1 AS d FROM t ORDER BY e %1$s $1 LIMIT %s', op, k);
	one vector;
	far float8;
	n int;
	found float8[] = '{}';
BEGIN
	FOR one IN SELECT e FROM q LOOP
		PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true);
		EXECUTE 'SELECT max(d) FROM (' || query || ') x' INTO far USING one;
		PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
		EXECUTE 'SELECT count(*) FROM (' || query || ') x WHERE d <= $2 + abs($2) * 1e-6' INTO n USING one, far;
		found := found || n / k::float8;
	END LOOP;
	RETURN (SELECT avg(f) FROM unnest(found) f);
END $$;
/*
 * A life of an index made before its rows: steps of a kind, its parameter, and how many rows, and where the goal was
 * missed.  In one transaction nobody else can see the index, so inserts learn themselves.
 */
CREATE FUNCTION life(d int, type text, op text, class text, VARIADIC steps text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	step text;
	s text[];
	bad text := '';
	r float8;
	least float8 := 1;
	i int := 0;
	n int;
BEGIN
	DROP TABLE IF EXISTS t;
	EXECUTE format('CREATE TABLE t (id int, e %s(%s))', type, d);
	EXECUTE format('CREATE INDEX t_e ON t USING pq (e %s_%s_ops)', type, class);
	TRUNCATE q;
	FOREACH step IN ARRAY steps LOOP
		s := string_to_array(step, ' ');
		FOR part IN 1..2 LOOP
			n := s[3]::int / 2;
			EXECUTE format('INSERT INTO t SELECT i, point(%L, %s, i, %s)::%s FROM generate_series(%s, %s) i', s[1], s[2], d, type, i + 1, i + n);
			i := i + n;
			DELETE FROM q WHERE random() < 0.3;
			EXECUTE format('INSERT INTO q SELECT point(%L, %s, -i, %s) FROM generate_series(%s, %s, %s) i', s[1], s[2], d, i - n + 1, i, n / 10);
			r := recall(op, 10);
			least := least(least, r);
			-- taxicab distances are known by way of Euclidean ones, and queries are few
			IF r IS NULL OR r < (CASE WHEN type = 'sparsevec' AND op = '<+>' THEN 0.8 ELSE 0.88 END) THEN
				bad := bad || format('%s rows, %s: %s; ', i, step, round(r::numeric, 3));
			END IF;
		END LOOP;
	END LOOP;
	IF jflow_pq_check('t_e') <> i THEN
		bad := bad || 'rows are missing';
	END IF;
	RETURN bad;
END $$;
SELECT setseed(0.5);
SELECT life(16, 'vector', '<->', 'l2', 'copies 50 1000', 'place 0 2000') AS copies;
SELECT life(12, 'vector', '<->', 'l2', 'place 0 2000', 'place 6 2000', 'place 1e4 1000') AS places,
	life(12, 'halfvec', '<=>', 'cosine', 'place 1 2000', 'place -6 2000') AS angles,
	life(12, 'vector', '<#>', 'ip', 'place 0 2000', 'place 6 2000') AS products;
SELECT life(12, 'vector', '<+>', 'l1', 'scale 1e-3 1500', 'scale 1 2000') AS scale;
SELECT life(16, 'vector', '<->', 'l2', 'plane 0 2000', 'place 0 2000') AS out_of_plane;
SELECT life(16, 'vector', '<->', 'l2', 'cluster 1 1200', 'cluster 2 600', 'cluster 3 600', 'cluster 4 600', 'cluster 5 600') AS clusters;
SELECT life(8, 'vector', '<->', 'l2', 'way 0.001 5000') AS sorted;
SELECT life(3, 'vector', '<->', 'l2', 'scales 0 4000') AS scales;
SELECT life(40, 'sparsevec', '<+>', 'l1', 'cluster 1 1200', 'place 2 2000') AS sparse;
SELECT life(600, 'vector', '<=>', 'cosine', 'cluster 1 1100', 'cluster 2 300') AS wide;

-- where filters or rows that cannot be seen have a scan look again, no outlier comes twice
CREATE FUNCTION spread(i int, width float8, far float8 DEFAULT 0) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$SELECT array_agg(far + sin(i * 0.7301 * j + j * j) + cos(i * 0.1177 * j) * width)::vector FROM generate_series(1, 8) j$$;
CREATE TABLE twice (id int, f int, e vector(8)) WITH (autovacuum_enabled = off);
INSERT INTO twice SELECT i, i % 4, spread(i, 0.1) FROM generate_series(1, 3000) i;
CREATE INDEX twice_e ON twice USING pq (e vector_l2_ops, f);
INSERT INTO twice SELECT i, i % 4, spread(i, 2) FROM generate_series(3001, 3400) i;
DELETE FROM twice WHERE id % 3 = 0;
SELECT outliers > 100 AS some_outliers FROM jflow_pq_info('twice_e');
SET enable_seqscan = off;
SET enable_sort = off;
SELECT k, count(*) AS queries, count(*) FILTER (WHERE n = k AND n = d) AS each_once
FROM unnest('{5,20,50,200}'::int[]) k, generate_series(1, 50) q, LATERAL (SELECT count(*) AS n, count(DISTINCT id) AS d
	FROM (SELECT id FROM twice WHERE f < 2 ORDER BY e <-> spread(q * 17, 1, q % 3) LIMIT k) x) y
GROUP BY 1 ORDER BY 1;

-- rows around the same places, but less near, are no outliers, and yet unlike those that an index has learned from
CREATE FUNCTION around(i int, width float8) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$SELECT array_agg(sin((i % 200) * 0.7301 * j + j * j) + width * x(i, j))::vector FROM generate_series(1, 16) j$$;
CREATE TABLE wider (id int, e vector(16)) WITH (autovacuum_enabled = off);
INSERT INTO wider SELECT i, around(i, 0.1) FROM generate_series(1, 20000) i;
CREATE INDEX wider_e ON wider USING pq (e vector_l2_ops);
INSERT INTO wider SELECT i, around(i, 0.1) FROM generate_series(20001, 25000) i;
VACUUM wider;
SELECT due, generation FROM jflow_pq_info('wider_e');
INSERT INTO wider SELECT i, around(i, 0.2) FROM generate_series(25001, 28000) i;
VACUUM wider;
SELECT due, generation > 1 AS learned FROM jflow_pq_info('wider_e');
