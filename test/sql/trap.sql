-- Can a flow's owner trap those who post to it?
SET client_min_messages = warning;
CREATE ROLE jflow_trapper;
GRANT CREATE ON SCHEMA public TO jflow_trapper;
SET ROLE jflow_trapper;

-- by settings that outlive the call
CREATE FUNCTION set_traps(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN SET search_path = evil; SET work_mem = '99MB'; PERFORM set_config('my.setting', 'evil', false); RETURN NULL; END $$;
SELECT jflow_create('settings');
SELECT jflow_add('settings', 'e', uses => 'set_traps', replicas => 0);
SELECT text FROM jflow_post('/x', 'a', 'settings');
SHOW search_path;
RESET ROLE;
SELECT text FROM jflow_post('/x', 'a', 'settings');
SHOW search_path;
SHOW work_mem;
SELECT current_setting('my.setting', true) IS DISTINCT FROM 'evil' AS clean;

-- by code of his that runs at commit, with the rights of the caller
SET ROLE jflow_trapper;
CREATE TABLE trap (i int);
CREATE FUNCTION spring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'runs as %', CASE current_user WHEN 'jflow_trapper' THEN 'owner' ELSE 'caller' END; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION spring();
CREATE FUNCTION set_deferred(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.trap VALUES (1); RETURN NULL; END $$;
SELECT jflow_create('deferred');
SELECT jflow_add('deferred', 'e', uses => 'set_deferred', replicas => 0);
SELECT text FROM jflow_post('/x', 'a', 'deferred');
RESET ROLE;
SELECT text FROM jflow_post('/x', 'a', 'deferred');

-- by a temporary table in front of the caller's
SET ROLE jflow_trapper;
CREATE FUNCTION shadow(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN CREATE TEMP TABLE pg_class (i int); RETURN NULL; END $$;
SELECT jflow_create('shadow');
SELECT jflow_add('shadow', 'e', uses => 'shadow', replicas => 0);
RESET ROLE;
SELECT text FROM jflow_post('/x', 'a', 'shadow');

-- what a superuser owns is free to do so, and so is an owner who posts himself
CREATE FUNCTION make_temp(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN CREATE TEMP TABLE made (i int) ON COMMIT DROP; RETURN NULL; END $$;
SELECT jflow_create('temp');
SELECT jflow_add('temp', 'e', uses => 'make_temp', replicas => 0);
SELECT jflow_grant('temp', 'jflow_trapper');
SET ROLE jflow_trapper;
SELECT text FROM jflow_post('/x', 'a', 'temp');
RESET ROLE;

SELECT jflow_drop(flow) FROM jflow_flows ORDER BY flow;
DROP FUNCTION make_temp;
DROP OWNED BY jflow_trapper CASCADE;
DROP ROLE jflow_trapper;
