-- Do the filter columns of both index methods keep what a sequential scan keeps, in every type and form of condition that they know?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA index_filter;
SET search_path = index_filter, public;
CREATE FUNCTION h(a int, b int) RETURNS int IMMUTABLE PARALLEL SAFE LANGUAGE sql
	RETURN ('x' || substr(md5(a || ':' || b), 1, 7))::bit(28)::int;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN age AS int4;
CREATE DOMAIN label AS text;

-- A value of a type as a literal: from a small range, so that it is met again, or from the ends of the type.
CREATE FUNCTION value_of(type text, seed int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
	n int := h(seed, 1) % 60;
	ends text[];
BEGIN
	IF h(seed, 2) % 8 = 0 THEN
		ends := CASE type WHEN 'int2' THEN '{-32768,32767}' WHEN 'int4' THEN '{-2147483648,2147483647,-32769,32768}'
			WHEN 'int8' THEN '{-9223372036854775808,9223372036854775807,2147483648,-2147483649,32768}'
			WHEN 'float4' THEN '{NaN,Infinity,-Infinity,-0,3.4028235e38,1e-45,-1e-45}' WHEN 'float8' THEN '{NaN,Infinity,-Infinity,-0,1e300,-1e300,1e-300,-1e-300,3.4028235e38,3.5e38,0.1}'
			WHEN 'numeric' THEN '{NaN,Infinity,-Infinity,0,-0.000,1e-200,-1e-200,1e200,1e201,-1e200,1.2345678901234567,1.2345678901234568,1.23456789012345670000,-1.2345678901234567,99999999999999999999,100000000000000000000}'
			WHEN 'date' THEN '{infinity,-infinity,0001-01-01,5874897-12-31,4713-01-01 BC}' WHEN 'timestamp' THEN '{infinity,-infinity,294276-12-31 23:59:59,4713-01-01 00:00:00 BC}'
			WHEN 'timestamptz' THEN '{infinity,-infinity,294276-12-31 23:59:59+00,4713-01-02 00:00:00+00 BC}' WHEN 'time' THEN '{00:00,24:00}'
			WHEN 'oid' THEN '{0,4294967295,2147483648}' WHEN '"char"' THEN '{a}' WHEN 'text' THEN ARRAY['', repeat('long ', 600)] END;
		IF ends IS NOT NULL THEN
			RETURN ends[1 + h(seed, 3) % cardinality(ends)];
		END IF;
	END IF;
	RETURN CASE type WHEN 'bool' THEN (n % 2 = 0)::text WHEN '"char"' THEN chr(65 + n) WHEN 'int2' THEN (n - 30)::text WHEN 'int4' THEN (n - 30)::text WHEN 'int8' THEN (n - 30)::text
		WHEN 'float4' THEN ((n - 30) / 10.0)::text WHEN 'float8' THEN ((n - 30) / 10.0)::text WHEN 'numeric' THEN ((n - 30) / 7.0)::numeric(6, 2)::text
		WHEN 'date' THEN ('2024-03-01'::date + n / 4)::text
		WHEN 'time' THEN ('00:00'::time + n * interval '20 min')::text WHEN 'oid' THEN n::text
		-- around the hour that is left out in one zone, and the one that comes twice
		WHEN 'timestamp' THEN (CASE h(seed, 4) % 3 WHEN 0 THEN '2024-03-09 20:00' WHEN 1 THEN '2024-11-02 20:00' ELSE '2024-06-01 00:00' END::timestamp + n * interval '15 min')::text
		WHEN 'timestamptz' THEN (CASE h(seed, 4) % 3 WHEN 0 THEN '2024-03-10 00:00' WHEN 1 THEN '2024-11-03 00:00' ELSE '2024-06-01 00:00' END::timestamp + n * interval '15 min')::text || '+00'
		WHEN 'uuid' THEN md5('u' || n)::uuid::text WHEN 'bytea' THEN '\x' || md5('b' || n % 20) WHEN 'mood' THEN (ARRAY['sad', 'ok', 'happy'])[1 + n % 3]
		WHEN 'char(4)' THEN 'c' || n % 30 ELSE 'text ' || n END;
END $$;

CREATE TABLE kinds (name text PRIMARY KEY, type text, equal_only bool, others text[]);
INSERT INTO kinds VALUES
	('b', 'bool', false, '{bool}'), ('c', '"char"', false, '{"\"char\""}'), ('i2', 'int2', false, '{int2,int4,int8}'), ('i4', 'int4', false, '{int2,int4,int8}'), ('i8', 'int8', false, '{int2,int4,int8}'),
	('f4', 'float4', false, '{float4,float8}'), ('f8', 'float8', false, '{float4,float8}'), ('n', 'numeric', false, '{numeric}'), ('o', 'oid', false, '{oid}'),
	('d', 'date', false, '{date,timestamp,timestamptz}'), ('ts', 'timestamp', false, '{date,timestamp,timestamptz}'), ('tz', 'timestamptz', false, '{date,timestamp,timestamptz}'), ('ti', 'time', false, '{time}'),
	('tx', 'text', true, '{text}'), ('vc', 'varchar', true, '{text,varchar}'), ('bc', 'char(4)', true, '{char(4)}'), ('u', 'uuid', true, '{uuid}'), ('by', 'bytea', true, '{bytea}'), ('m', 'mood', true, '{mood}'),
	('a', 'age', false, '{int2,int4,int8}'), ('l', 'label', true, '{text}');
SELECT format('CREATE TABLE t (id int, e vector(6), s sparsevec(12), %s)', string_agg(format('"%s" %s', name, type), ', ' ORDER BY name)) FROM kinds \gexec
-- age and label have the values of what they are made from; one value in ten is NULL
SELECT format('INSERT INTO t SELECT i, (SELECT array_agg(h(i, j) / 268435456.0) FROM generate_series(1, 6) j)::vector, format(''{%%s:%%s,%%s:2}/12'', 1 + i %% 6, h(i, 0) / 1e8 - 1, 7 + h(i, 7) %% 6)::sparsevec, %s FROM generate_series(1, 1200) i',
	string_agg(format('CASE WHEN h(i, %s) %% 10 > 0 THEN value_of(%L, i * 50 + %s)::%s END', 100 + nr, CASE type WHEN 'age' THEN 'int4' WHEN 'label' THEN 'text' ELSE type END, nr, type), ', ' ORDER BY name))
FROM (SELECT *, row_number() OVER (ORDER BY name) AS nr FROM kinds) x \gexec
SELECT format('CREATE INDEX t_pq ON t USING pq (e vector_l2_ops, %s) WITH (lists = 8)', string_agg(quote_ident(name), ', ' ORDER BY name)) FROM kinds \gexec
SELECT format('CREATE INDEX t_inverted ON t USING inverted (s sparsevec_ip_ops, %s)', string_agg(quote_ident(name), ', ' ORDER BY name)) FROM kinds \gexec
VACUUM (FREEZE, ANALYZE) t;
SELECT jflow_pq_check('t_pq'), jflow_inverted_check('t_inverted');

-- A condition on one column, in one of the forms that there are.
CREATE FUNCTION condition(seed int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	kind kinds;
	form int := h(seed, 11) % 10;
	ops text[] := '{<,<=,=,>=,>}';
	op text;
	type text;
BEGIN
	SELECT * INTO kind FROM kinds ORDER BY name OFFSET h(seed, 12) % 21 LIMIT 1;
	op := CASE WHEN kind.equal_only THEN '=' ELSE ops[1 + h(seed, 13) % 5] END;
	type := kind.others[1 + h(seed, 14) % cardinality(kind.others)];
	IF form = 0 THEN
		RETURN format('%I IS %s', kind.name, (ARRAY['NULL', 'NOT NULL'])[1 + h(seed, 15) % 2]);
	ELSIF kind.name = 'b' AND form < 7 THEN
		RETURN (ARRAY['b', 'NOT b', 'b = true', 'b = false', 'b IS TRUE', 'b IS FALSE', 'b <> true', 'b IN (false, NULL)', 'NOT (b = true)'])[1 + h(seed, 15) % 9];
	ELSIF form < 4 THEN
		RETURN format('%I %s ANY (%L::%s[])', kind.name, CASE WHEN form < 3 THEN '=' ELSE op END,
			(SELECT array_agg(CASE WHEN h(seed, 100 + i) % 9 > 0 THEN value_of(type, seed * 31 + i) END) FROM generate_series(1, CASE h(seed, 16) % 4 WHEN 0 THEN 1 WHEN 1 THEN 200 ELSE 1 + h(seed, 17) % 12 END) i), type);
	END IF;
	RETURN format('%I %s %L::%s', kind.name, op, value_of(type, seed * 31), type);
END $$;

-- What a statement's plan does: only index conditions, or also filters.
CREATE FUNCTION plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	RETURN CASE WHEN plan LIKE '%One-Time Filter: false%' THEN 'nothing' WHEN plan LIKE '%Filter:%' THEN 'filter' WHEN plan LIKE '%Index Cond:%' THEN 'index' ELSE 'other' END;
END $$;
CREATE FUNCTION use_index(yes bool) RETURNS void LANGUAGE sql AS $$
	SELECT set_config('enable_indexscan', yes::text, false), set_config('enable_seqscan', (NOT yes)::text, false), set_config('enable_sort', (NOT yes)::text, false) $$;
CREATE FUNCTION rows_of(cond text, distance text, most int, OUT ids int[], OUT distances float8[]) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT array_agg(id), array_agg(d) FROM (SELECT id, %2$s AS d FROM t WHERE %1$s ORDER BY %2$s LIMIT %3$s) x', cond, distance, most) INTO ids, distances;
END $$;
CREATE FUNCTION sorted(a int[]) RETURNS int[] IMMUTABLE LANGUAGE sql AS $$ SELECT array_agg(i ORDER BY i) FROM unnest(a) i $$;

-- What is wrong with the answers for a condition, or nothing.
CREATE FUNCTION try(cond text, zone text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	distance text;
	exact record;
	found record;
	few record;
BEGIN
	PERFORM set_config('timezone', zone, false);
	FOREACH distance IN ARRAY ARRAY['e <-> ''[0.5,0.5,0.5,0.5,0.5,0.5]''', 's <#> ''{1:1,3:-1,8:2,9:0.5}/12'''] LOOP
		PERFORM use_index(false);
		exact := rows_of(cond, distance, 100000);
		PERFORM use_index(true);
		IF plan_of(format('SELECT id FROM t WHERE %s ORDER BY %s LIMIT 5', cond, distance)) NOT IN ('index', 'nothing') THEN
			RETURN 'no index condition: ' || distance;
		END IF;
		found := rows_of(cond, distance, 100000);
		IF sorted(found.ids) IS DISTINCT FROM sorted(exact.ids) OR found.distances IS DISTINCT FROM exact.distances THEN
			RETURN 'all rows differ: ' || distance;
		END IF;
		few := rows_of(cond, distance, 7);
		IF few.distances IS DISTINCT FROM exact.distances[1:7] AND distance LIKE 's%' OR NOT coalesce(few.ids, '{}') <@ coalesce(exact.ids, '{}') OR
			coalesce(cardinality(few.ids), 0) <> least(7, coalesce(cardinality(exact.ids), 0)) OR few.distances <> (SELECT array_agg(d ORDER BY d) FROM unnest(few.distances) d) THEN
			RETURN 'the first rows differ: ' || distance;
		END IF;
	END LOOP;
	RETURN NULL;
END $$;

CREATE TABLE conditions AS SELECT i, (SELECT string_agg(condition(i * 5 + j), ' AND ') FROM generate_series(0, CASE WHEN i % 4 = 0 THEN 1 + h(i, 9) % 2 ELSE 0 END) j) AS cond,
	(ARRAY['UTC', 'America/New_York', 'Pacific/Apia'])[1 + i % 3] AS zone FROM generate_series(1, 400) i;
SELECT i, zone, wrong, cond FROM (SELECT *, try(cond, zone) AS wrong FROM conditions OFFSET 0) x WHERE wrong IS NOT NULL;
RESET timezone;

-- what a plan shows; behind the index stays what is no comparison with one value or one of some
SELECT use_index(true);
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE b AND f4 < 9.99 AND ts >= '2024-03-10 07:00+00'::timestamptz AND d <= '2024-03-10 00:30'::timestamp AND tx IN ('text 1', 'text 2') AND i2 = ANY ('{1,2}') AND n > 0.5 AND m = 'ok'
ORDER BY e <-> '[0,0,0,0,0,0]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE NOT b AND f4 < 9.99 AND ts >= '2024-03-10 07:00+00'::timestamptz AND d <= '2024-03-10 00:30'::timestamp AND tx IN ('text 1', 'text 2') AND i2 = ANY ('{1,2}') AND n > 0.5 AND m = 'ok'
ORDER BY s <#> '{1:1}/12' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE b IS NOT TRUE AND i2 <> 3 AND i4 <> ALL ('{1,2}') AND tx > 'a' AND tx = 'text 1' COLLATE "C" AND i8 + 1 = 2 ORDER BY e <-> '[0,0,0,0,0,0]' LIMIT 10;

-- the same after inserts, updates, deletes and VACUUM, with what was inserted in lists of its own
INSERT INTO t SELECT (jsonb_populate_record(t, jsonb_build_object('id', id + 10000))).* FROM t WHERE id % 5 = 0;
UPDATE t SET tx = vc, vc = tx, i2 = i4 % 100, f8 = f4, ts = tz, b = NOT b WHERE id % 7 = 0 AND i4 BETWEEN -1000 AND 1000;
DELETE FROM t WHERE id % 11 = 0;
SELECT i, zone, wrong, cond FROM (SELECT *, try(cond, zone) AS wrong FROM conditions WHERE i <= 60 OFFSET 0) x WHERE wrong IS NOT NULL;
VACUUM (FREEZE) t;
SELECT i, zone, wrong, cond FROM (SELECT *, try(cond, zone) AS wrong FROM conditions WHERE i <= 60 OFFSET 0) x WHERE wrong IS NOT NULL;
RESET timezone;
SELECT jflow_pq_check('t_pq') = count(*), jflow_inverted_check('t_inverted') = count(*) FROM t;

-- constants that come when the scan starts: NULL, arrays that are NULL, empty, of NULLs, large
SET plan_cache_mode = force_generic_plan;
PREPARE some_pq(int8[], text[]) AS SELECT count(*) FROM (SELECT 1 FROM t WHERE i4 = ANY ($1) AND tx = ANY ($2) ORDER BY e <-> '[0,0,0,0,0,0]') x;
PREPARE some_inverted(int8[], text[]) AS SELECT count(*) FROM (SELECT 1 FROM t WHERE i4 = ANY ($1) AND tx = ANY ($2) ORDER BY s <#> '{1:1}/12') x;
PREPARE some_table(int8[], text[]) AS SELECT count(*) FROM t WHERE i4 = ANY ($1) AND tx = ANY ($2);
EXPLAIN (COSTS OFF) EXECUTE some_pq('{1}', '{a}');
EXPLAIN (COSTS OFF) EXECUTE some_inverted('{1}', '{a}');
EXECUTE some_pq(NULL, '{text 1}');
EXECUTE some_inverted(NULL, '{text 1}');
EXECUTE some_pq('{1}', '{}');
EXECUTE some_inverted('{1}', '{}');
EXECUTE some_pq('{NULL,NULL}', '{text 1}');
EXECUTE some_inverted('{NULL,NULL}', '{text 1}');
SELECT array_agg(i) AS numbers, array_agg('text ' || i % 60) AS texts FROM generate_series(-20000, 20000) i \gset
EXECUTE some_pq(:'numbers', :'texts');
EXECUTE some_inverted(:'numbers', :'texts');
SELECT use_index(false);
EXECUTE some_table(:'numbers', :'texts');
SELECT use_index(true);
RESET plan_cache_mode;
DEALLOCATE ALL;

-- a join that changes them for each scan
SELECT q, (SELECT count(*) FROM (SELECT 1 FROM t WHERE t.b = (q = 1) AND m = ANY (ARRAY[CASE q WHEN 1 THEN 'ok' ELSE 'sad' END]::mood[]) ORDER BY e <-> '[0,0,0,0,0,0]') x) = (SELECT count(*) FROM t WHERE b = (q = 1) AND m = CASE q WHEN 1 THEN 'ok' ELSE 'sad' END::mood) AS same
FROM generate_series(0, 1) q;

-- partitions
CREATE TABLE parts (id int, flag bool, name text, e vector(2)) PARTITION BY RANGE (id);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (500);
CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (500) TO (1000);
CREATE INDEX ON parts USING pq (e vector_l2_ops, flag, name);
INSERT INTO parts SELECT i, i % 2 = 0, 'name ' || i % 10, ARRAY[i, i % 7]::vector FROM generate_series(0, 999) i;
ANALYZE parts;
EXPLAIN (COSTS OFF) SELECT id FROM parts WHERE flag AND name IN ('name 2', 'name 4') ORDER BY e <-> '[500,1]' LIMIT 4;
SELECT id, flag, name FROM parts WHERE flag AND name IN ('name 2', 'name 4') ORDER BY e <-> '[500,1]' LIMIT 4;

-- a policy goes before conditions that could tell of rows which it hides
CREATE TABLE guarded (id int, flag bool, price numeric, e vector(2));
INSERT INTO guarded SELECT i, i % 2 = 0, i % 10, ARRAY[i, i % 7]::vector FROM generate_series(0, 999) i;
CREATE INDEX ON guarded USING pq (e vector_l2_ops, flag, price);
ANALYZE guarded;
CREATE FUNCTION may_see(int) RETURNS bool STABLE COST 1 LANGUAGE plpgsql AS 'BEGIN RETURN $1 < 500; END';
CREATE POLICY half ON guarded USING (may_see(id));
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE ROLE index_filter_user;
GRANT USAGE ON SCHEMA index_filter TO index_filter_user;
GRANT SELECT ON guarded TO index_filter_user;
SET ROLE index_filter_user;
EXPLAIN (COSTS OFF) SELECT id FROM guarded WHERE flag AND price IN (2, 4) ORDER BY e <-> '[500,1]' LIMIT 4;
SELECT id FROM guarded WHERE flag AND price IN (2, 4) ORDER BY e <-> '[500,1]' LIMIT 4;
RESET ROLE;

-- equal hashes: rows are looked at, whatever the hash function is like
CREATE FUNCTION same_hash(inet, int8) RETURNS int8 IMMUTABLE STRICT LANGUAGE sql RETURN 42::int8;
CREATE OPERATOR CLASS same_pq_ops DEFAULT FOR TYPE inet USING pq AS OPERATOR 3 =, FUNCTION 3 same_hash(inet, int8);
CREATE OPERATOR CLASS same_inverted_ops DEFAULT FOR TYPE inet USING inverted AS OPERATOR 3 =, FUNCTION 3 same_hash(inet, int8);
SELECT opcname, amvalidate(oid) FROM pg_opclass WHERE opcname LIKE 'same%' ORDER BY 1;
CREATE TABLE hosts (id int, at inet, e vector(2), s sparsevec(5));
INSERT INTO hosts SELECT i, '10.0.0.0'::inet + i % 50, ARRAY[i, 1]::vector, format('{%s:1}/5', 1 + i % 5)::sparsevec FROM generate_series(1, 400) i;
CREATE INDEX hosts_pq ON hosts USING pq (e vector_l2_ops, at);
CREATE INDEX hosts_inverted ON hosts USING inverted (s sparsevec_ip_ops, at);
ANALYZE hosts;
EXPLAIN (COSTS OFF) SELECT id FROM hosts WHERE at = '10.0.0.7' ORDER BY e <-> '[100,1]' LIMIT 3;
SELECT id FROM hosts WHERE at = '10.0.0.7' ORDER BY e <-> '[100,1]' LIMIT 3;
SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM hosts WHERE at = ANY ('{10.0.0.7,10.0.0.9,10.1.0.1}') ORDER BY s <#> '{1:1}/5') x;
SELECT count(*) FROM hosts WHERE at = ANY ('{10.0.0.7,10.0.0.9,10.1.0.1}');

-- what is refused: collations that call different strings equal, types without an operator class, classes that lack something
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
CREATE TABLE refused (e vector(2), s sparsevec(5), x text COLLATE loose, j jsonb, p point);
CREATE INDEX ON refused USING pq (e vector_l2_ops, x);
CREATE INDEX ON refused USING inverted (s sparsevec_ip_ops, x);
CREATE INDEX ON refused USING pq (e vector_l2_ops, x COLLATE "C");
CREATE INDEX ON refused USING pq (e vector_l2_ops, j);
CREATE INDEX ON refused USING inverted (s sparsevec_ip_ops, p);
CREATE OPERATOR CLASS half_ops FOR TYPE jsonb USING pq AS OPERATOR 3 =;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'half_ops';
CREATE INDEX ON refused USING pq (e vector_l2_ops, j half_ops);
EXPLAIN (COSTS OFF) SELECT 1 FROM refused WHERE x = 'a' ORDER BY e <-> '[0,0]' LIMIT 1;

-- all operator classes are complete
SELECT opcname FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname IN ('pq', 'inverted') AND opcname <> 'half_ops' AND NOT amvalidate(c.oid);
DROP SCHEMA index_filter CASCADE;
DROP ROLE index_filter_user;
