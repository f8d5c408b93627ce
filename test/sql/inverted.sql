-- Does an inverted index answer in exact order, by the plan that one expects, and refuse what it must?
SET client_min_messages = warning;
SET jit = off;
CREATE SCHEMA inverted_test;
SET search_path = inverted_test, public;

CREATE TABLE items (id int, v sparsevec(100), price int);
INSERT INTO items VALUES
	(1, '{1:1,2:2}/100', 10), (2, '{2:1,3:4}/100', 20), (3, '{1:-3,5:1}/100', 30), (4, '{7:1}/100', 40),
	(5, '{}/100', 50), (6, NULL, 60), (7, '{1:0.5,2:0.25,3:0.125}/100', NULL), (8, '{100:1}/100', 80);
CREATE INDEX items_ip ON items USING inverted (v sparsevec_ip_ops, price);
CREATE INDEX items_cosine ON items USING inverted (v sparsevec_cosine_ops, price);
SET enable_seqscan = off;
SET enable_sort = off;

EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <#> '{1:1}/100' LIMIT 3;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE price < 50 ORDER BY v <=> '{1:1}/100' LIMIT 3;
-- negative before those without a common term, these before positive, NULL last
SELECT id, round((v <#> '{1:1,2:1}/100')::numeric, 3) AS distance FROM items ORDER BY v <#> '{1:1,2:1}/100';
SELECT array_agg(id) FROM (SELECT id FROM items ORDER BY v <#> '{1:1,2:1}/100' LIMIT 3) x;
-- 1 where there is none, NaN for the empty vector
SELECT id, round((v <=> '{1:1,2:1}/100')::numeric, 3) AS distance FROM items WHERE id <> 5 ORDER BY v <=> '{1:1,2:1}/100';
SELECT array_agg(id) FROM (SELECT id FROM items ORDER BY v <=> '{1:1,2:1}/100' OFFSET 6) x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <=> '{}/100') x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <#> NULL::sparsevec(100)) x;
SELECT array_agg(id) FROM (SELECT id FROM items WHERE price < 50 ORDER BY v <#> '{1:1,2:1}/100') x;
SELECT array_agg(id) FROM (SELECT id FROM items WHERE price IS NULL ORDER BY v <#> '{1:1,2:1}/100') x;
SELECT array_agg(id) FROM (SELECT id FROM items WHERE price = NULL::int ORDER BY v <#> '{1:1,2:1}/100') x;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE v IS NULL ORDER BY v <#> '{1:1}/100';
SELECT id FROM items WHERE v IS NULL ORDER BY v <#> '{1:1}/100';
SELECT count(*) FROM (SELECT id FROM items WHERE v IS NOT NULL ORDER BY v <#> '{1:1}/100') x;
SELECT array_agg(id) FROM (SELECT id FROM items WHERE v <#> '{1:1,2:1}/100' < 0 ORDER BY v <#> '{1:1,2:1}/100') x;

-- rescans: the best of each query
SELECT q.id, x.id AS best FROM (SELECT * FROM items WHERE v IS NOT NULL AND id <> 5) q,
	LATERAL (SELECT i.id FROM items i WHERE i.price < q.price + 25 ORDER BY i.v <#> q.v LIMIT 1) x ORDER BY 1;

-- cursors, while the index changes under them
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <#> '{1:1,2:1}/100';
FETCH 2 FROM c;
INSERT INTO items SELECT i, format('{%s:1}/100', 1 + i % 100)::sparsevec, i FROM generate_series(1000, 9000) i;
DELETE FROM items WHERE id < 3;
FETCH ALL FROM c;
ROLLBACK;
VACUUM (FREEZE) items;
SELECT jflow_inverted_check('items_ip'), jflow_inverted_check('items_cosine');

-- what the planner chooses by itself
RESET enable_seqscan;
RESET enable_sort;
CREATE TABLE many (id int, v sparsevec(10000), flag bool);
INSERT INTO many SELECT i, format('{%s:1,%s:2,%s:0.5}/10000', 1 + i % 10, 100 + i % 1000, 2000 + i % 7000)::sparsevec, i % 100 = 0 FROM generate_series(1, 20000) i;
CREATE INDEX many_v ON many USING inverted (v sparsevec_ip_ops, flag);
ANALYZE many;
EXPLAIN (COSTS OFF) SELECT id FROM many ORDER BY v <#> '{3:1,200:1}/10000' LIMIT 10;
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		-- versions name the subquery in their own ways
		line := regexp_replace(line, '\$0|\(InitPlan \w+\)\.col1', '(subquery)');
		RETURN NEXT regexp_replace(line, 'InitPlan .*', 'InitPlan');
	END LOOP;
END $$;
SELECT plan_of('SELECT id FROM many ORDER BY v <#> (SELECT v FROM many LIMIT 1) LIMIT 10');
EXPLAIN (COSTS OFF) SELECT id FROM many WHERE flag = true ORDER BY v <#> '{3:1,200:1}/10000' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM many ORDER BY v <#> '{3:1,200:1}/10000';
EXPLAIN (COSTS OFF) SELECT id FROM many WHERE flag;
EXPLAIN (COSTS OFF) SELECT id FROM many ORDER BY id LIMIT 10;
SELECT metric, dims, tuples, dead, pending, segments, terms, postings, retired FROM jflow_inverted_info('many_v');

-- long vectors: over several pages, up to the most that there is
CREATE TABLE long (id int, v sparsevec(20000));
CREATE INDEX long_v ON long USING inverted (v sparsevec_ip_ops);
INSERT INTO long SELECT n, (SELECT format('{%s}/20000', string_agg(d || ':' || d % 7 + 1, ','))::sparsevec FROM generate_series(1, n) d)
FROM unnest('{16000,1,5000,900,2000,0,3000}'::int[]) n;
SET enable_seqscan = off;
SELECT array_agg(id) FROM (SELECT id FROM long ORDER BY v <#> '{1:1,899:1,1999:1,2999:1,15999:2}/20000' LIMIT 7) x;
SELECT jflow_inverted_check('long_v');
VACUUM (FREEZE) long;
SELECT array_agg(id) FROM (SELECT id FROM long ORDER BY v <#> '{1:1,899:1,1999:1,2999:1,15999:2}/20000' LIMIT 7) x;
SELECT jflow_inverted_check('long_v');
SELECT id FROM long ORDER BY v <#> (SELECT v FROM long WHERE id = 16000) LIMIT 3;
SELECT segments, terms, postings FROM jflow_inverted_info('long_v');

-- what is refused
CREATE TABLE wrong (id int, v sparsevec, w vector(3), t text);
CREATE INDEX ON wrong USING inverted (v sparsevec_ip_ops);
CREATE INDEX ON wrong USING inverted ((v::sparsevec(3)) sparsevec_ip_ops);
CREATE INDEX ON wrong USING inverted (id, w);
CREATE INDEX ON wrong USING inverted (w vector_ip_ops);
CREATE INDEX ON wrong USING inverted ((v::sparsevec(3)));
CREATE INDEX ON wrong USING inverted ((v::sparsevec(3)) sparsevec_ip_ops, (ARRAY[t]));
CREATE INDEX ON wrong USING inverted ((v::sparsevec(3)) sparsevec_ip_ops) WITH (lists = 3);
CREATE INDEX ON wrong USING inverted (id);
CREATE UNIQUE INDEX ON wrong USING inverted ((v::sparsevec(3)) sparsevec_ip_ops);
CREATE INDEX ON wrong USING inverted ((v::sparsevec(3)) sparsevec_l2_ops);
SELECT id FROM items ORDER BY v <#> '{1:1}/99' LIMIT 1;
SELECT jflow_inverted_check('items');
SELECT jflow_inverted_info('wrong');
SELECT jflow_inverted_check(0);
SELECT jflow_pq_check('items_ip');

-- operator classes fit the access method
SELECT opcname, amvalidate(o.oid) FROM pg_opclass o JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'inverted' AND NOT amvalidate(o.oid);

DROP SCHEMA inverted_test CASCADE;
