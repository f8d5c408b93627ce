-- Does PQLiteIndexer store, replace, change, delete and find documents?
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE FUNCTION docs(first int, last int) RETURNS jflow_doc[] LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => i::text, text => 'text ' || i, uri => 'u:' || i,
		embedding => format('[%s,%s,1]', i, i % 3)::vector,
		tags => jsonb_build_object('n', i, 'even', i % 2 = 0, 'name', 'n' || i % 5, 'deep', jsonb_build_object('er', i))))
	FROM generate_series(first, last) i $$;
SELECT jflow_create('f');
SELECT jflow_add('f', 'store', uses => 'jinahub://PQLiteIndexer', replicas => 0, workspace => 'jflow_data', shards => 3,
	uses_with => '{"dim": 3, "metric": "l2", "columns": {"n": "int4", "even": "bool", "name": "text"}}',
	polling => '{"/index": "ANY", "/search": "ALL", "*": "ALL"}');

-- nothing is stored yet
SELECT id, matches FROM jflow_post('/search', '[{"id": "q", "embedding": [1, 2, 3]}]'::jsonb, 'f');
SELECT * FROM jflow_post('/fetch', '[{"id": "q"}]'::jsonb, 'f');
SELECT * FROM jflow_post('/filter', NULL::jflow_doc[], 'f');
SELECT * FROM jflow_post('/delete', '[{"id": "q"}]'::jsonb, 'f');
SELECT * FROM jflow_post('/update', '[{"id": "q"}]'::jsonb, 'f');
SELECT * FROM jflow_post('/status', NULL::jflow_doc[], 'f');
SELECT * FROM jflow_post('/clear', NULL::jflow_doc[], 'f');
SELECT to_regclass('jflow_data.f_store');

-- each id once, whichever shard gets it
SELECT docs, requests, failed FROM jflow_post_query('/index', 'SELECT (d).id, (d).text, (d).uri, (d).embedding, (d).tags FROM unnest(docs(1, 30)) d', 'f', request_size => 3);
SELECT docs, requests, failed FROM jflow_post_query('/index', 'SELECT (d).id, (d).text, (d).uri, (d).embedding, (d).tags FROM unnest(docs(11, 40)) d', 'f', request_size => 4);
SELECT count(*), count(DISTINCT id), bool_and(n::text = id) FROM jflow_data.f_store;
SELECT shard, parent, "table", field, metric, state FROM jflow.shard ORDER BY shard;
SELECT relname, relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) AS mine
FROM pg_class WHERE oid IN (SELECT relid FROM pg_partition_tree('jflow_data.f_store')) ORDER BY 1;
SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND classid = 'pg_class'::regclass AND objid = 'jflow_data.f_store'::regclass;

-- searches
SELECT m.id, round(m.score::numeric, 4) AS score, m.text, m.uri, m.tags FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[7,1,1]')], 'f', parameters => '{"limit": 3}') d, unnest(d.matches) m;
SELECT d.id, array_agg(m.id) FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[0,0,1]'), jflow_doc(id => 'r', embedding => '[41,0,1]')], 'f', parameters => '{"limit": 4}') d, unnest(d.matches) m GROUP BY d.id ORDER BY d.id;
SELECT array_agg(m.id) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[0,0,1]')], 'f', parameters => '{"limit": 4, "filter": {"even": true, "name": {"$ne": "n2"}, "deep.er": {"$lt": 15}}}') d, unnest(d.matches) m;
SELECT cardinality(matches) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[0,0,1]')], 'f');
SELECT cardinality(matches) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[0,0,1]')], 'f', parameters => '{"limit": 0}');
SELECT cardinality(matches) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[0,0,1]')], 'f', parameters => '{"limit": 1000}');

-- by id and by filter, under any polling
SELECT id, text, uri, tags, embedding FROM jflow_post('/fetch', ARRAY[jflow_doc(id => '9'), jflow_doc(id => 'x'), jflow_doc(id => '3'), jflow_doc(id => '9')], 'f');
SELECT array_agg(id) FROM jflow_post('/filter', NULL::jflow_doc[], 'f', parameters => '{"filter": {"$or": [{"n": {"$gt": 38.5}}, {"n": 1}]}}');
SELECT array_agg(id) FROM jflow_post('/filter', NULL::jflow_doc[], 'f', parameters => '{"filter": {"even": false}, "limit": 3}');
SELECT id, text FROM jflow_post('/update', ARRAY[jflow_doc(id => '9', text => 'new', tags => '{"even": null, "more": 1}'), jflow_doc(id => 'x', text => 'no'), jflow_doc(id => '9', uri => 'again')], 'f');
SELECT id, text, uri, tags, embedding, n, even, name FROM jflow_data.f_store WHERE id = '9';
SELECT array_agg(id) FROM jflow_post('/delete', ARRAY[jflow_doc(id => '9'), jflow_doc(id => 'x'), jflow_doc(id => '10')], 'f');
SELECT count(*) FROM jflow_data.f_store;
SELECT id, tags - 'bytes' - 'rows' AS tags, (tags->>'bytes')::int > 0 AS bytes, tags->>'rows' = (SELECT count(*)::text FROM jflow_data.f_store_1) AS rows FROM jflow_post('/status', NULL::jflow_doc[], 'f') WHERE id = 'store/1';
SELECT count(*), sum((tags->>'rows')::int) FROM jflow_post('/status', NULL::jflow_doc[], 'f');

-- of an id that a request has twice the last document counts
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'twice', text => 'first', embedding => '[100,0,0]'), jflow_doc(id => 'twice', text => 'last', embedding => '[200,0,0]')], 'f');
SELECT text, embedding FROM jflow_data.f_store WHERE id = 'twice';

-- a number or time that a typed column cannot hold lies between those that it can
SELECT jflow_create('typed');
SELECT jflow_add('typed', 'typed', uses => 'PQLiteIndexer', replicas => 0, workspace => 'jflow_data', uses_with => '{"dim": 1, "columns": {"t": "timestamp(0)", "f": "float4"}}');
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1]', tags => '{"t": "2024-01-01 00:00:00", "f": 0}')], 'typed');
SELECT left(filter::text, 40) AS filter, count(d.id) AS found FROM unnest(ARRAY['{"t": {"$lt": "2024-01-01 00:00:00.4"}}', '{"t": "2024-01-01 00:00:00.4"}',
	'{"t": {"$in": ["2024-01-01 00:00:00.4"]}}', '{"t": "2024-01-01"}', '{"f": {"$gt": 1e-50}}', '{"f": {"$lt": 1e-50}}', '{"f": 1e-50}',
	'{"f": {"$gt": -1e-400}}', '{"f": {"$in": [1e-50, 1]}}', '{"f": 0}', '{"f": {"$lt": 1e-45}}']::jsonb[]) filter
	LEFT JOIN LATERAL jflow_post('/filter', NULL::jflow_doc[], 'typed', jsonb_build_object('filter', filter)) d ON true GROUP BY 1 ORDER BY 1;
SELECT jflow_drop('typed', drop_data => true);

-- ties at the limit are decided by id
SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => 'tie' || i, embedding => '[-50,0,0]')) FROM generate_series(1, 30) i), 'f', request_size => 1);
SELECT array_agg(m.id) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[-50,0,0]')], 'f', parameters => '{"limit": 5}') d, unnest(d.matches) m;

-- polling "all" and "hash" store by the hash of the id, and find what "any" has put elsewhere
SELECT jflow_create('h');
SELECT jflow_add('h', 'hashed', uses => 'PQLiteIndexer', replicas => 0, shards => 4, uses_with => '{"dim": 3, "include": ["uri"]}', polling => '{"/index": "hash"}', workspace => 'Work "space"');
SELECT count(*) FROM jflow_post('/index', docs(1, 20), 'h');
SELECT string_agg(shard || ':' || id, ' ' ORDER BY shard, id) FROM "Work ""space""".h_hashed;
UPDATE jflow.executor SET polling = '{"/index": "all"}' WHERE flow = 'h';
SELECT count(*) FROM jflow_post('/index', docs(1, 24), 'h');
SELECT string_agg(shard || ':' || id, ' ' ORDER BY shard, id) FROM "Work ""space""".h_hashed;
UPDATE jflow.executor SET polling = NULL WHERE flow = 'h';
SELECT count(*) FROM jflow_post('/index', docs(1, 24), 'h');
SELECT count(*), count(DISTINCT id) FROM "Work ""space""".h_hashed;
SELECT m.text, m.uri, m.tags FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,1,1]')], 'h', parameters => '{"limit": 1}') d, unnest(d.matches) m;
SELECT matches FROM jflow_post('/search', ARRAY[jflow_doc(id => 'zero', embedding => '[0,0,0]')], 'h');

-- sparse embeddings, decided by the first documents
SELECT jflow_create('s');
SELECT jflow_add('s', 'sparse', uses => 'PQLiteIndexer', replicas => 0, workspace => 'jflow_data', uses_with => '{"dim": 100000, "metric": "ip"}');
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', sparse_embedding => '{1:1,5:2}/100000'), jflow_doc(id => 'b', sparse_embedding => '{5:3}/100000')], 's');
SELECT m.id, m.score FROM jflow_post('/search', ARRAY[jflow_doc(sparse_embedding => '{5:1}/100000')], 's') d, unnest(d.matches) m;
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'c', embedding => '[1]')], 's');
SELECT id, sparse_embedding FROM jflow_post('/fetch', ARRAY[jflow_doc(id => 'b')], 's');

-- a whole request or nothing
SELECT count(*) FROM jflow_post('/index', docs(50, 52) || jflow_doc(id => '53', embedding => '[1,2]'), 'f');
SELECT count(*) FROM jflow_data.f_store WHERE n >= 50;
SELECT count(*) FROM jflow_post('/index', docs(50, 52) || jflow_doc(id => '53', embedding => '[1,2]'), 'f', request_size => 2, continue_on_error => true);
SELECT array_agg(id ORDER BY id) FROM jflow_data.f_store WHERE n >= 50;
BEGIN; SELECT count(*) FROM jflow_post('/index', docs(60, 62), 'f'); ROLLBACK;
SELECT count(*) FROM jflow_data.f_store WHERE n >= 60;
BEGIN READ ONLY; SELECT count(*) FROM jflow_post('/index', docs(60, 62), 'f'); ROLLBACK;
BEGIN READ ONLY; SELECT cardinality(matches) FROM jflow_post('/search', docs(60, 60), 'f'); ROLLBACK;

-- documents that cannot be stored
SELECT jflow_post('/index', ARRAY[jflow_doc(id => '')], 'f');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => repeat('x', 1000000), embedding => '[1,2,3]')], 'f');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a')], 'f');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a', sparse_embedding => '{1:1}/3')], 'f');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2,3,4]')], 'f');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[0,0,0]')], 'h');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2,3]', tags => '[1]')], 'f');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2,3]', tags => '{"n": 1.5}')], 'f');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2,3]', tags => '{"n": 3000000000}')], 'f');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2,3]', tags => '{"n": "1"}')], 'f');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2,3]', tags => '{"even": {}}')], 'f');
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,2]')], 'f');
SELECT jflow_post('/search', ARRAY['no embedding'], 'f');
SELECT jflow_post('/search', docs(1, 1), 'f', parameters => '{"limit": -1}');
SELECT jflow_post('/search', docs(1, 1), 'f', parameters => '{"limit": "3"}');
SELECT jflow_post('/search', docs(1, 1), 'f', parameters => '{"recall": 2}');
SELECT jflow_post('/search', docs(1, 1), 'f', parameters => '{"filter": []}');
SELECT jflow_post('/search', docs(1, 1), 'f', parameters => '{"filter": {"n": {"$foo": 1}}}');

-- options that cannot be
SELECT jflow_add('f', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 0}');
SELECT jflow_add('f', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "metric": "cosin"}');
SELECT jflow_add('f', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "metrik": "l2"}');
SELECT jflow_add('f', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "field": "text"}');
SELECT jflow_add('f', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 30000, "field": "embedding"}');
SELECT jflow_add('f', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": {"id": "int"}}');
SELECT jflow_add('f', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "include": ["embedding"]}');
SELECT jflow_add('f', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "id": "sku"}');
SELECT jflow_add('f', 'x', uses => 'PQLiteIndexer', uses_with => '{"table": "t", "id": "sku"}');
SELECT jflow_create('x');
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": {"p": "point"}}', replicas => 0);
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": {"p": "int); DROP TABLE jflow.flow; --"}}', replicas => 0);
-- types of columns are looked at when the executor is added, whatever the search_path is
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": {"p": "str"}}', replicas => 0);
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": {"p": "flot8"}}', replicas => 0);
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": {"p": "no_schema.text"}}', replicas => 0);
CREATE SCHEMA shadow;
CREATE DOMAIN shadow.int4 AS text;
SET search_path = shadow, pg_catalog, public;
-- as a map or as pairs
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": [["n", "int4"], ["name", "varchar(10)"]]}', replicas => 0);
RESET search_path;
SELECT count(*) FROM jflow_post('/index', docs(1, 1), 'x');
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'x_x' AND column_name IN ('n', 'name') ORDER BY 1;
SELECT id FROM jflow_post('/filter', NULL::jflow_doc[], 'x', parameters => '{"filter": {"$or": {"n": 7, "name": "n1"}}}');
SELECT jflow_drop('x', drop_data => true);
DROP SCHEMA shadow CASCADE;
SELECT jflow_create('x');
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": [["n"]]}', replicas => 0);
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": [["n", "int4", "x"]]}', replicas => 0);
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": ["n"]}', replicas => 0);
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": [["n", 4]]}', replicas => 0);
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": [["n", "int4"], ["n", "int8"]]}', replicas => 0);
SELECT jflow_add('x', 'x', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "columns": "n"}', replicas => 0);
SELECT jflow_drop('x');

-- the definition changes under the data
UPDATE jflow.executor SET uses_with = uses_with || '{"metric": "ip"}' WHERE name = 'store';
SELECT jflow_post('/search', docs(1, 1), 'f');
UPDATE jflow.executor SET uses_with = uses_with || '{"metric": "l2", "field": "sparse_embedding"}' WHERE name = 'store';
SELECT jflow_post('/search', docs(1, 1), 'f');
UPDATE jflow.executor SET uses_with = uses_with - 'field' || '{"dim": 4}' WHERE name = 'store';
SELECT jflow_post('/index', docs(1, 1), 'f');
UPDATE jflow.executor SET uses_with = uses_with || '{"dim": 3, "columns": {"n": "int8"}}' WHERE name = 'store';
SELECT jflow_post('/index', docs(1, 1), 'f');
UPDATE jflow.executor SET uses_with = uses_with || '{"columns": {"n": "int4", "other": "int4"}}' WHERE name = 'store';
SELECT jflow_post('/index', docs(1, 1), 'f');
UPDATE jflow.executor SET uses_with = uses_with || '{"columns": {"n": "int4"}}' WHERE name = 'store';
SELECT count(*) FROM jflow_post('/index', docs(1, 1), 'f');

-- the table changes under the flow
ALTER TABLE jflow_data.f_store DETACH PARTITION jflow_data.f_store_1;
SELECT jflow_post('/search', docs(1, 1), 'f');
SELECT jflow_post('/index', docs(1, 1), 'f');
ALTER TABLE jflow_data.f_store ATTACH PARTITION jflow_data.f_store_1 FOR VALUES IN (1);
SELECT count(*) FROM jflow_post('/search', docs(1, 1), 'f');
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER skip BEFORE INSERT ON jflow_data.f_store FOR EACH ROW EXECUTE FUNCTION skip();
DO $$ BEGIN PERFORM jflow_post('/index', docs(1, 1), 'f'); EXCEPTION WHEN triggered_action_exception THEN RAISE WARNING '%', SQLSTATE; END $$;
DROP TRIGGER skip ON jflow_data.f_store;
CREATE UNIQUE INDEX users_own ON jflow_data.f_store_0 (text);
SELECT count(*) FROM jflow_post('/index', docs(1, 3), 'f');
DROP INDEX jflow_data.users_own;
DROP TABLE jflow_data.f_store_2;
SELECT jflow_post('/search', docs(1, 1), 'f');
DROP TABLE jflow_data.f_store;
SELECT jflow_post('/search', docs(1, 1), 'f');

-- tables in the way, and tables that were ours
SELECT jflow_drop('f');
CREATE TABLE jflow_data.f_store (id int);
SELECT jflow_create('f');
SELECT jflow_add('f', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'jflow_data', uses_with => '{"dim": 3}');
SELECT jflow_post('/index', docs(1, 1), 'f');
DROP TABLE jflow_data.f_store;
SELECT count(*) FROM jflow_post('/index', docs(1, 5), 'f');
SELECT jflow_create('g');
SELECT jflow_add('g', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'jflow_data', uses_with => '{"dim": 3}');
SELECT count(*) FROM jflow_post('/index', docs(1, 1), 'g');
SELECT jflow_drop('g', drop_data => true);
-- a flow finds its table again, also one that was made under the executor's name alone
SELECT jflow_drop('f');
SELECT count(*) FROM jflow_data.f_store;
ALTER TABLE jflow_data.f_store RENAME TO store;
ALTER TABLE jflow_data.f_store_0 RENAME TO store_0;
SELECT jflow_create('g');
SELECT jflow_add('g', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'jflow_data', uses_with => '{"dim": 3}');
SELECT count(*) FROM jflow_post('/index', docs(6, 6), 'g');
SELECT array_agg(id) FROM jflow_post('/filter', NULL::jflow_doc[], 'g');
SELECT jflow_create('f');
SELECT jflow_add('f', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'jflow_data', uses_with => '{"dim": 3}');
SELECT count(*) FROM jflow_post('/index', docs(7, 7), 'f');
SELECT array_agg(id) FROM jflow_post('/filter', NULL::jflow_doc[], 'f');
SELECT jflow_drop('g');
SELECT jflow_drop('f');
SELECT jflow_create('f');
SELECT jflow_add('f', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'jflow_data', uses_with => '{"dim": 4}');
SELECT jflow_post('/index', ARRAY[jflow_doc(embedding => '[1,2,3,4]')], 'f');
SELECT jflow_drop('f');
DROP TABLE jflow_data.store;
-- two flows whose tables would have one name: whatever is posted, and not as if all were empty
SELECT jflow_create('a'), jflow_create('a_b');
SELECT jflow_add('a', 'b_c', uses => 'PQLiteIndexer', replicas => 0, workspace => 'jflow_data', uses_with => '{"dim": 1}');
SELECT jflow_add('a_b', 'c', uses => 'PQLiteIndexer', replicas => 0, workspace => 'jflow_data', uses_with => '{"dim": 1}');
SELECT cardinality(matches) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'a_b');
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '1', embedding => '[1]')], 'a');
SELECT jflow_post('/index', ARRAY[jflow_doc(embedding => '[1]')], 'a_b');
DO $$ DECLARE e text; BEGIN FOREACH e IN ARRAY '{/index,/search,/filter,/fetch,/update,/delete,/status,/clear}'::text[] LOOP
	BEGIN
		PERFORM jflow_post(e, ARRAY[jflow_doc(id => '1', embedding => '[1]')], 'a_b');
		RAISE WARNING '% answers', e;
	EXCEPTION WHEN object_in_use THEN NULL;
	END;
END LOOP; END $$;
SELECT jflow_drop('a', drop_data => true), jflow_drop('a_b');

-- rights: the tables are the flow's owner's
CREATE ROLE regress_pq_owner;
CREATE ROLE regress_pq_user;
SET ROLE regress_pq_owner;
SELECT jflow_create('owned');
SELECT jflow_add('owned', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 3}', workspace => 'none');
SELECT jflow_post('/index', ARRAY[jflow_doc(embedding => '[1,2,3]')], 'owned');
SELECT jflow_drop('owned');
SELECT jflow_create('owned');
SELECT jflow_add('owned', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'jflow_data', uses_with => '{"dim": 3}');
SELECT jflow_post('/index', ARRAY[jflow_doc(embedding => '[1,2,3]')], 'owned');
SELECT jflow_drop('owned');
SELECT jflow_create('owned');
-- without a workspace each role has a schema of its own, be it made for it
SELECT has_database_privilege(current_database(), 'CREATE');
SELECT jflow_add('owned', 'mine', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 3}');
SELECT jflow_grant('owned', 'regress_pq_user');
SET ROLE regress_pq_user;
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2,3]')], 'owned');
SELECT m.id FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,2,3]')], 'owned') d, unnest(d.matches) m;
SELECT count(*) FROM jflow_data_regress_pq_owner.owned_mine;
SELECT jflow_scale('owned', 'mine', shards => 2);
RESET ROLE;
SELECT relowner::regrole, nspowner::regrole, jsonb_agg(objid) FILTER (WHERE refclassid = 'pg_extension'::regclass) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace LEFT JOIN pg_depend ON classid = 'pg_namespace'::regclass AND objid = n.oid WHERE c.oid = 'jflow_data_regress_pq_owner.owned_mine_0'::regclass GROUP BY 1, 2;
SELECT jflow_drop('owned', drop_data => true);
SELECT to_regclass('jflow_data_regress_pq_owner.owned_mine');
-- somebody else's schema of that name is not used
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'jflow_data_regress%';
DROP SCHEMA jflow_data_regress_pq_owner;
CREATE SCHEMA jflow_data_regress_pq_owner AUTHORIZATION regress_pq_user;
GRANT ALL ON SCHEMA jflow_data_regress_pq_owner TO regress_pq_owner;
SET ROLE regress_pq_owner;
SELECT jflow_create('owned');
SELECT jflow_add('owned', 'mine', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 3}');
SELECT jflow_post('/index', ARRAY[jflow_doc(embedding => '[1,2,3]')], 'owned');
SELECT jflow_drop('owned');
-- names that are too long are cut, and kept apart
RESET ROLE;
DROP SCHEMA jflow_data_regress_pq_owner;
GRANT CREATE ON DATABASE :DBNAME TO regress_pq_owner;
SET ROLE regress_pq_owner;
SELECT jflow_create(repeat('ü', 31)), jflow_create(repeat('ü', 30));
SELECT jflow_add(f, repeat('e', 60) || n, uses => 'PQLiteIndexer', replicas => 0, shards => 2, uses_with => '{"dim": 3}') FROM (VALUES (repeat('ü', 31)), (repeat('ü', 30))) f(f), generate_series(1, 2) n;
SELECT count(*) FROM unnest(ARRAY[repeat('ü', 31), repeat('ü', 30)]) f, generate_series(1, 2) n, jflow_post('/index', ARRAY[jflow_doc(embedding => '[1,2,3]')], f, target_executor => repeat('e', 60) || n);
SELECT count(*), count(DISTINCT relname), max(octet_length(relname)) FROM pg_class WHERE relnamespace = 'jflow_data_regress_pq_owner'::regnamespace AND relkind IN ('r', 'p');
SELECT jflow_drop(flow, drop_data => true) FROM jflow_flows WHERE owner = 'regress_pq_owner';
RESET ROLE;
DROP OWNED BY regress_pq_owner, regress_pq_user;
DROP ROLE regress_pq_owner, regress_pq_user;

-- everything of a flow goes with drop_data
SELECT jflow_post('/clear', NULL::jflow_doc[], 's');
SELECT count(*) FROM jflow_data.s_sparse;
SELECT jflow_drop(flow, drop_data => true) FROM jflow_flows ORDER BY flow;
SELECT to_regclass('jflow_data.s_sparse'), to_regclass('"Work ""space""".h_hashed');
SELECT count(*) FROM jflow.shard;
DROP SCHEMA jflow_data;
DROP SCHEMA "Work ""space""";
DROP FUNCTION docs, skip;
