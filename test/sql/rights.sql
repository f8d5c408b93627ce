-- Whose code can a function of the extension run, and does it tell or take what is another role's?
SET client_min_messages = warning;
CREATE ROLE rights_owner;
CREATE ROLE rights_helper;
CREATE ROLE rights_stranger;
CREATE SCHEMA rights_owner AUTHORIZATION rights_owner;
CREATE SCHEMA rights_helper AUTHORIZATION rights_helper;
GRANT USAGE ON SCHEMA rights_helper, rights_owner TO PUBLIC;

-- an executor calls a function that runs as another role: it is not that role's call
SET ROLE rights_helper;
CREATE FUNCTION rights_helper.reads() RETURNS text LANGUAGE sql SECURITY DEFINER AS
	$$ SELECT current_user || ' reads ' || coalesce((jflow_context()).uses_with::text, 'nothing') || ' of ' || (jflow_context()).executor $$;
CREATE FUNCTION rights_helper.calls(f text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	EXECUTE format('SELECT jflow.%I(ARRAY[jflow_doc(id => ''1'', text => ''one two'')], ''{}'')', f);
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SET ROLE rights_owner;
CREATE FUNCTION rights_owner.e(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
DECLARE answer jflow_doc[];
BEGIN
	answer := ARRAY[jflow_doc(text => rights_helper.reads()),
		jflow_doc(text => current_user || ' reads ' || (jflow_context()).uses_with)];
	RETURN answer || (SELECT array_agg(jflow_doc(text => f || ': ' || rights_helper.calls(f)) ORDER BY f)
		FROM unnest('{pqlite_clear,pqlite_delete,pqlite_fetch,pqlite_filter,pqlite_index,pqlite_search,pqlite_status,pqlite_update,bm25_status,bm25_transform,term_fit,term_fit_finish,tfidf_transform}'::text[]) f);
END $$;
SELECT jflow_create('rights');
SELECT jflow_add('rights', 'e', uses => 'rights_owner.e', uses_with => '{"key": "secret"}', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'rights');
SELECT jflow_drop('rights');

-- a cast of the query's columns is a function that its caller must be allowed to call
SET ROLE rights_helper;
CREATE TYPE rights_helper.mood AS ENUM ('good');
CREATE FUNCTION rights_helper.to_tags(rights_helper.mood) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT '{"a": 1}'::jsonb $$;
CREATE CAST (rights_helper.mood AS jsonb) WITH FUNCTION rights_helper.to_tags AS ASSIGNMENT;
REVOKE EXECUTE ON FUNCTION rights_helper.to_tags FROM PUBLIC;
SET ROLE rights_owner;
SELECT jflow_create('cast');
SELECT jflow_add('cast', 'e', replicas => 0);
SELECT docs FROM jflow_post_query('/x', $$SELECT 'good'::rights_helper.mood AS tags$$, 'cast');
SET ROLE rights_helper;
GRANT EXECUTE ON FUNCTION rights_helper.to_tags TO rights_owner;
SET ROLE rights_owner;
SELECT docs FROM jflow_post_query('/x', $$SELECT 'good'::rights_helper.mood AS tags$$, 'cast');
SELECT jflow_drop('cast');

-- what stands behind the views, and the triggers of the catalog
SET ROLE rights_owner;
SELECT jflow_create('private');
SELECT jflow_add('private', 'e', uses_with => '{"key": "secret"}');
SET ROLE rights_stranger;
SELECT count(*) FROM jflow.pools() WHERE flow = 'private';
SELECT count(*) FROM jflow.replicas() WHERE flow = 'private';
SELECT count(*) FROM jflow.endpoints() WHERE flow = 'private';
SELECT count(*) FROM jflow.requests() WHERE flow = 'private';
SELECT count(*) FROM jflow.progress();
SELECT jflow.may_post('private'), jflow.is_owner('private'), jflow.may_see('private'), jflow.is_started('private');
SELECT class FROM jflow_classes WHERE NOT builtin;
CREATE TEMP TABLE trap (a int);
CREATE TRIGGER trap AFTER INSERT ON trap FOR EACH STATEMENT EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER trap AFTER INSERT ON trap FOR EACH STATEMENT EXECUTE FUNCTION jflow.runtime_changed();
RESET ROLE;

-- every function that names a flow, by a role that has no right to it, without a lock on anything of the flow's
CREATE FUNCTION attempt(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT ' || call;
	RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SET ROLE rights_stranger;
SELECT call, attempt(call) FROM unnest(ARRAY[
	$$jflow_add('private', 'f')$$, $$jflow_remove('private', 'e')$$, $$jflow_drop('private', drop_data => true)$$,
	$$jflow_grant('private', 'rights_stranger')$$, $$jflow_revoke('private', 'rights_owner')$$,
	$$jflow_save('private')$$, $$jflow_save_yaml('private')$$, $$jflow_plot('private')$$,
	$$jflow_fit('private', 'e', 'SELECT 1')$$, $$jflow_terms('private', 'e')$$, $$jflow.reshard_step('private', 'e')$$,
	$$jflow_post('/x', 'a'::text, 'private')$$, $$jflow_post('/x', '{a}'::text[], 'private')$$,
	$$jflow_post('/x', ARRAY[jflow_doc()], 'private')$$, $$jflow_post('/x', '{}'::jsonb, 'private')$$,
	$$jflow_post_query('/x', 'SELECT 1', 'private')$$, $$jflow_call('/x', '{}', 'private')$$, $$jflow_search('a', flow => 'private')$$,
	$$jflow_start('private')$$, $$jflow_stop('private')$$, $$jflow_scale('private', 'e', 2)$$, $$jflow_restart('private', 'e')$$,
	$$jflow_wait('private')$$, $$jflow_stat_reset()$$]) call;
RESET ROLE;
SELECT jflow_drop('private');

-- a function of the extension that is not named here or above has not been looked at: docs/security.md has them all
SELECT p.oid::regprocedure AS function
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'jflow'
WHERE p.prosecdef OR p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c');

DROP FUNCTION attempt;
DROP OWNED BY rights_owner, rights_helper, rights_stranger CASCADE;
DROP ROLE rights_owner, rights_helper, rights_stranger;
