-- Can who posts choose that a search has his rights, so that row-level security holds?
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE ROLE regress_rights_owner;
CREATE ROLE regress_rights_caller;
CREATE SCHEMA rights AUTHORIZATION regress_rights_owner;
GRANT USAGE ON SCHEMA rights TO regress_rights_caller;
SET ROLE regress_rights_owner;
CREATE TABLE rights.theirs (id text, tenant text, e vector(1)) PARTITION BY LIST (tenant);
CREATE TABLE rights.theirs_a PARTITION OF rights.theirs FOR VALUES IN ('a');
CREATE TABLE rights.theirs_b PARTITION OF rights.theirs FOR VALUES IN ('b');
SELECT jflow_create('rights');
SELECT jflow_add('rights', 'own', uses => 'PQLiteIndexer', replicas => 0, shards => 2, polling => '{"/index": "hash"}', workspace => 'rights', uses_with => '{"dim": 1, "metric": "l2", "columns": {"tenant": "text"}}');
SELECT jflow_add('rights', 'theirs', uses => 'PQLiteIndexer', replicas => 0, shards => 2, needs => '{gateway}', uses_with => '{"table": "rights.theirs", "id": "id", "field": "e", "metric": "l2"}');
SELECT jflow_add('rights', 'words', uses => 'TfidfVectorizer', replicas => 0, needs => '{gateway}', uses_with => '{"vocabulary": ["cat"], "use_idf": false}');
SELECT jflow_add('rights', 'remote', uses => 'PQLiteIndexer', replicas => 1, needs => '{gateway}', workspace => 'rights');
CREATE FUNCTION rights.same(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
SELECT jflow_add('rights', 'function', uses => 'rights.same', replicas => 0, needs => '{gateway}');
SELECT jflow_add('rights', 'other', uses => 'PQLiteIndexer', replicas => 0, needs => '{gateway}', workspace => 'rights', requests => '{"/search": "rights.same"}');
SELECT jflow_grant('rights', 'regress_rights_caller');
SELECT count(*) FROM unnest('{own,theirs}'::text[]) t, jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, embedding => ARRAY[i]::vector, tags => jsonb_build_object('tenant', CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END))) FROM generate_series(1, 10) i), 'rights', target_executor => t);
CREATE POLICY tenant ON rights.rights_own TO regress_rights_caller USING (tenant = current_setting('app.tenant', true));
CREATE POLICY tenant ON rights.theirs TO regress_rights_caller USING (tenant = current_setting('app.tenant', true));
ALTER TABLE rights.rights_own ENABLE ROW LEVEL SECURITY;
ALTER TABLE rights.theirs ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION rights.three(OUT executor text, OUT searched text, OUT filtered text, OUT fetched text) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT t, (SELECT string_agg(m.id, ' ' ORDER BY m.id::int) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[5]')], 'rights', target_executor => t) d, unnest(d.matches) m),
		(SELECT string_agg(id, ' ' ORDER BY id::int) FROM jflow_post('/filter', NULL::jflow_doc[], 'rights', target_executor => t)),
		(SELECT string_agg(id, ' ' ORDER BY id::int) FILTER (WHERE embedding IS NOT NULL) FROM jflow_post('/fetch', ARRAY[jflow_doc(id => '3'), jflow_doc(id => '4')], 'rights', target_executor => t)) FROM unnest('{own,theirs}'::text[]) t $$;

-- the owner's rights, which need none of the caller's
SET ROLE regress_rights_caller;
SELECT * FROM rights.three();
-- the caller's, which are none
SET jflow.rights = caller;
SELECT * FROM rights.three();
SELECT jflow_post('/search', NULL::jflow_doc[], 'rights', target_executor => 'own');
SELECT jflow_post('/search', NULL::jflow_doc[], 'rights', target_executor => 'theirs');
RESET ROLE;
GRANT SELECT ON rights.rights_own, rights.theirs TO regress_rights_caller;
SET ROLE regress_rights_caller;
SELECT * FROM rights.three();
SET app.tenant = 'a';
SELECT * FROM rights.three();
SET app.tenant = 'b';
SELECT * FROM rights.three();
-- one after the other in a session, by one and the other, each with plans of his own
SET jflow.rights = owner;
SELECT * FROM rights.three();
SET jflow.rights = caller;
SELECT * FROM rights.three();
SELECT m.id, m.score FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[5]')], 'rights', '{"limit": 2, "max_distance": 3, "filter": {"tenant": {"$in": ["a", "b"]}}}', target_executor => 'own') d, unnest(d.matches) m;

-- nothing else can have them
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[5]')], 'rights', target_executor => 'words');
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[5]')], 'rights', target_executor => 'function');
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[5]')], 'rights', target_executor => 'remote');
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[5]')], 'rights', target_executor => 'other');
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[5]')], 'rights');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'x', embedding => '[5]')], 'rights', target_executor => 'own');
SELECT jflow_post('/delete', ARRAY[jflow_doc(id => '1')], 'rights', target_executor => 'own');
SELECT jflow_post('/status', NULL::jflow_doc[], 'rights', target_executor => 'own');
SET jflow.rights = none;

-- code that the owner has hung to the table can neither write nor leave anything
RESET ROLE;
SET ROLE regress_rights_owner;
CREATE FUNCTION rights.evil(tenant text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN EXECUTE current_setting('app.evil'); RETURN true; END $$;
CREATE POLICY evil ON rights.rights_own TO regress_rights_caller USING (rights.evil(tenant));
SET ROLE regress_rights_caller;
RESET ROLE;
CREATE TABLE mine (a int);
ALTER TABLE mine OWNER TO regress_rights_caller;
SET ROLE regress_rights_caller;
SET app.evil = 'INSERT INTO mine VALUES (1)';
SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], 'rights', target_executor => 'own');
SET app.evil = 'CREATE TEMP TABLE trap (a int)';
SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], 'rights', target_executor => 'own');
SELECT count(*) FROM mine;
RESET ROLE;
DROP TABLE mine;
-- the owner himself, and a superuser, who is bound by no policy
RESET ROLE;
DROP POLICY evil ON rights.rights_own;
SELECT * FROM rights.three();
SET ROLE regress_rights_owner;
SELECT * FROM rights.three();
RESET ROLE;
RESET jflow.rights;
SELECT jflow_drop('rights', drop_data => true);
DROP SCHEMA rights CASCADE;
DROP ROLE regress_rights_owner, regress_rights_caller;
