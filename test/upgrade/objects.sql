-- What a data directory of a release holds: every kind of object and index that users
-- make, in the states in which they are found.  Run as a superuser, with jflow
-- preloaded.  No value is random, so that all releases hold the same rows.
SET client_min_messages = error;
CREATE EXTENSION jflow CASCADE;
CREATE EXTENSION postgres_fdw;
CREATE ROLE keeper LOGIN;
CREATE ROLE guest LOGIN;
GRANT CREATE ON DATABASE postgres TO keeper;
CREATE SERVER embedder FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://127.0.0.1:9/', provider 'tei');
CREATE USER MAPPING FOR keeper SERVER embedder OPTIONS (api_key 'secret');
GRANT USAGE ON FOREIGN SERVER embedder TO keeper;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '9');
GRANT USAGE ON FOREIGN SERVER far TO keeper;

SET ROLE keeper;
CREATE SCHEMA kept;
SET search_path = kept, public;

-- indexes: each operator class, filter columns of each type, rows before and after the build
CREATE TYPE mood AS ENUM ('glad', 'calm', 'sad');
CREATE FUNCTION point(i float8, n int) RETURNS float8[] LANGUAGE sql IMMUTABLE AS
	$$SELECT array_agg(sin(i * (12.9898 + d) + d) + cos(i / (7.3 + d)) ORDER BY d) FROM generate_series(1, n) d$$;
CREATE FUNCTION terms(i int) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS
	$$SELECT ('{' || string_agg(t || ':' || w, ',' ORDER BY t) || '}/200')::sparsevec FROM
		(SELECT DISTINCT ON (t) 1 + (i * d * d * 7 + d) % 200 AS t, round((1.1 + sin(i + d))::numeric, 4) AS w
		FROM generate_series(1, 9) d ORDER BY t, d) x$$;
CREATE TABLE item (id int PRIMARY KEY, v vector(6), h halfvec(6), s sparsevec(200), i2 int2, i4 int4, i8 int8, f4 float4,
	f8 float8, b bool, c "char", n numeric, o oid, d date, t time, ts timestamp, tz timestamptz, tx text, vc varchar, bc char(4),
	by bytea, u uuid, e mood);
CREATE FUNCTION items(low int, high int) RETURNS SETOF item LANGUAGE sql AS $$
	SELECT i, point(i, 6)::vector, point(i + 0.5, 6)::vector::halfvec, terms(i), i % 7, i, i * 1000000007::int8, i / 3.0, i / 7.0,
		i % 2 = 0, chr(97 + i % 5)::"char", i / 9.0, i, date '2020-01-01' + i, time '00:00' + make_interval(secs => i),
		timestamp '2020-01-01' + make_interval(hours => i), timestamptz '2020-01-01 00:00+00' + make_interval(hours => i),
		'text ' || i % 11, 'vc ' || i % 13, 'c' || i % 3, decode(md5(i::text), 'hex'), md5(i::text)::uuid,
		(enum_range(NULL::mood))[1 + i % 3] FROM generate_series(low, high) i $$;
INSERT INTO item SELECT * FROM items(1, 300);
CREATE INDEX item_vector_l2 ON item USING pq (v vector_l2_ops, i2, i4, i8, f4, f8, b, c, n, o, d, t, ts, tz, tx, vc, bc, by, u, e);
CREATE INDEX item_vector_ip ON item USING pq (v vector_ip_ops) WITH (lists = 4, subvectors = 6);
CREATE INDEX item_vector_cosine ON item USING pq (v vector_cosine_ops) WHERE i4 > 10;
CREATE INDEX item_vector_l1 ON item USING pq (v vector_l1_ops);
CREATE INDEX item_halfvec_l2 ON item USING pq (h halfvec_l2_ops);
CREATE INDEX item_halfvec_ip ON item USING pq (h halfvec_ip_ops);
CREATE INDEX item_halfvec_cosine ON item USING pq (h halfvec_cosine_ops, tx);
CREATE INDEX item_halfvec_l1 ON item USING pq (h halfvec_l1_ops);
CREATE INDEX item_sparsevec_l2 ON item USING pq (s sparsevec_l2_ops);
CREATE INDEX item_sparsevec_ip ON item USING pq (s sparsevec_ip_ops);
CREATE INDEX item_sparsevec_cosine ON item USING pq (s sparsevec_cosine_ops);
CREATE INDEX item_sparsevec_l1 ON item USING pq (s sparsevec_l1_ops);
CREATE INDEX item_inverted_ip ON item USING inverted (s sparsevec_ip_ops, i2, i4, i8, f4, f8, b, c, n, o, d, t, ts, tz, tx, vc, bc, by, u, e);
CREATE INDEX item_inverted_cosine ON item USING inverted (s sparsevec_cosine_ops);
INSERT INTO item SELECT * FROM items(301, 360);
INSERT INTO item (id) VALUES (0);
DELETE FROM item WHERE id % 20 = 0;
VACUUM item;
UPDATE item SET v = point(id + 0.25, 6)::vector, s = terms(id + 5000) WHERE id % 10 = 1;

-- enough rows to learn from: lists, calibrated; a shared codebook; a table of partitions
CREATE TABLE many (id int, v vector(4)) PARTITION BY RANGE (id);
CREATE TABLE many_low PARTITION OF many FOR VALUES FROM (0) TO (3000);
CREATE TABLE many_high PARTITION OF many FOR VALUES FROM (3000) TO (6000);
INSERT INTO many SELECT i, point(i, 4)::vector FROM generate_series(1, 4000) i;
CREATE INDEX many_v ON many USING pq (v vector_l2_ops);
SELECT jflow_pq_calibrate('many_low_v_idx', 'SELECT v FROM kept.many_low WHERE id % 30 = 0');
SELECT jflow_train('shared', 'SELECT v FROM kept.many', 'cosine');
CREATE INDEX many_high_shared ON many_high USING pq (v vector_cosine_ops) WITH (codebook = 'shared');
CREATE UNLOGGED TABLE fleeting (id int, v vector(4));
INSERT INTO fleeting SELECT * FROM many_high LIMIT 50;
CREATE INDEX fleeting_v ON fleeting USING pq (v vector_l2_ops);

-- flows: all classes, stores of each kind, with and without replicas
CREATE FUNCTION shout(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS
	$$SELECT array_agg(jflow_doc(id => d.id, text => upper(d.text), tags => d.tags)) FROM unnest(docs) d$$;
CREATE TABLE text (id text PRIMARY KEY, text text, lang text);
INSERT INTO text SELECT 't' || i, 'word' || i % 17 || ' word' || i % 5 || ' about number ' || i || repeat(' filler' || i % 3, i % 4),
	(ARRAY['en', 'de'])[1 + i % 2] FROM generate_series(1, 60) i;
SELECT jflow_define('Shouter', '{"/shout": "kept.shout"}');
SELECT jflow_create('own', 'of our own functions');
SELECT jflow_add('own', 'first', uses => 'Shouter', replicas => 0, "when" => '{"tags.lang": {"$ne": "de"}}');
SELECT jflow_add('own', 'second', uses => 'kept.shout', replicas => 0, needs => '{gateway}', timeout => '5 s', retries => 3);
SELECT jflow_add('own', 'both', needs => '{first,second}', replicas => 0);
SELECT jflow_add('own', 'aside', floating => true, replicas => 0);
SELECT jflow_grant('own', 'guest', '{/shout}');

SELECT jflow_create('lexical');
SELECT jflow_add('lexical', 'encoder', uses => 'TfidfVectorizer', uses_with => '{"ngram_range": [1, 2], "sublinear_tf": true}');
SELECT jflow_add('lexical', 'store', uses => 'PQLiteIndexer', shards => 2, uses_with => '{"field": "sparse_embedding"}');
SELECT jflow_fit('lexical', 'encoder', 'SELECT text FROM kept.text');
SELECT jflow_create('ranked');
SELECT jflow_add('ranked', 'splitter', uses => 'TextSplitter', replicas => 0, uses_with => '{"size": 20, "overlap": 4}');
SELECT jflow_add('ranked', 'encoder', uses => 'BM25Vectorizer', replicas => 0);
SELECT jflow_add('ranked', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"field": "sparse_embedding", "metric": "ip"}');
SELECT jflow_fit('ranked', 'encoder', 'SELECT text FROM kept.text');
SELECT jflow_create('dense');
SELECT jflow_add('dense', 'store', uses => 'PQLiteIndexer', replicas => 0, shards => 3, polling => '{"/search": "all", "*": "hash"}',
	uses_with => '{"dim": 4, "metric": "l2", "columns": {"price": "int4", "brand": "text"}}');
CREATE TABLE article (key text PRIMARY KEY, title text NOT NULL DEFAULT 'none', body text, meaning vector(4));
INSERT INTO article SELECT 'a' || i, 'title ' || i, 'body ' || i, point(i, 4)::vector FROM generate_series(1, 40) i;
SELECT jflow_create('existing');
SELECT jflow_add('existing', 'store', uses => 'PQLiteIndexer', replicas => 0,
	uses_with => '{"table": "kept.article", "id": "key", "field": "meaning", "metric": "l2", "text": "body", "columns": {"title": "text"}}');
SELECT jflow_create('fused');
SELECT jflow_add('fused', 'a', replicas => 0);
SELECT jflow_add('fused', 'b', replicas => 0, needs => '{gateway}');
SELECT jflow_add('fused', 'ranker', uses => 'RRFRanker', replicas => 0, needs => '{a,b}', uses_with => '{"window": 20}');
SELECT jflow_create('outside');
SELECT jflow_add('outside', 'model', uses => 'HttpExecutor', replicas => 1, uses_with => '{"server": "embedder", "dimensions": 3}');
SELECT jflow_add('outside', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["far"], "flow": "there"}');
SELECT docs FROM jflow_post_query('/index', $$SELECT 'd' || i AS id, 'text ' || i AS text, kept.point(i, 4)::vector AS embedding,
	jsonb_build_object('price', i, 'brand', 'b' || i % 3) AS tags FROM generate_series(1, 200) i$$, 'dense');
SELECT docs FROM jflow_post_query('/index', 'SELECT id, text FROM kept.text', 'ranked');
SELECT jflow_start('lexical');
SELECT jflow_wait('lexical', '180 s');
SELECT docs FROM jflow_post_query('/index', $$SELECT id, text, jsonb_build_object('lang', lang) AS tags FROM kept.text$$, 'lexical');

-- tables in step
CREATE TABLE note (id int PRIMARY KEY, title text, body text);
INSERT INTO note SELECT i, 'title ' || i, 'body of word' || i % 17 FROM generate_series(1, 30) i;
CREATE TABLE memo (LIKE note INCLUDING ALL);
INSERT INTO memo SELECT * FROM note;
SELECT jflow_create('notes');
SELECT jflow_add('notes', 'encoder', uses => 'TfidfVectorizer', replicas => 0);
SELECT jflow_add('notes', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"field": "sparse_embedding"}');
SELECT jflow_fit('notes', 'encoder', 'SELECT body FROM kept.note');
SELECT jflow_create('memos');
SELECT jflow_add('memos', 'encoder', uses => 'TfidfVectorizer', replicas => 0);
SELECT jflow_add('memos', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"field": "sparse_embedding"}');
SELECT jflow_fit('memos', 'encoder', 'SELECT body FROM kept.memo');
SELECT jflow_sync('note', 'notes', 'kept.note', '{"text": ["title", "body"]}', retries => 1);
SELECT jflow_sync('memo', 'memos', 'kept.memo', '{"text": "body"}', mode => 'manual');
SELECT jflow_start('notes'), jflow_start('memos');
SELECT jflow_sync_run('note', '180 s'), jflow_sync_run('memo', '180 s');
INSERT INTO note VALUES (31, 'a', 'unheard');	-- no term of it is known: it fails
SELECT jflow_sync_run('note', '180 s');
UPDATE memo SET body = 'changed word3, and still to be posted' WHERE id = 7;
