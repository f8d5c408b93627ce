-- Do errors of a store tell who may only post nothing of its owner's tables?
CREATE ROLE jflow_store_owner LOGIN;
CREATE ROLE jflow_store_guest;
GRANT CREATE ON SCHEMA public TO jflow_store_owner;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO jflow_store_owner', current_database()); END $$;
SET ROLE jflow_store_owner;
CREATE SCHEMA jflow_hidden;
CREATE TABLE jflow_hidden.stock (id text PRIMARY KEY, text text, embedding vector(2), secret_price int DEFAULT 7 CHECK (secret_price < 10));
CREATE FUNCTION jflow_hidden.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.text = 'divide' THEN
		EXECUTE 'SELECT secret_price / 0 FROM jflow_hidden.stock';
	END IF;
	IF NEW.text = 'detail' THEN RAISE EXCEPTION 'not this one' USING DETAIL = 'of the trigger', ERRCODE = '22012'; END IF;
	RETURN NEW;
END $$;
INSERT INTO jflow_hidden.stock (id) VALUES ('0');
CREATE TRIGGER look BEFORE INSERT ON jflow_hidden.stock FOR EACH ROW EXECUTE FUNCTION jflow_hidden.look();
SELECT jflow_create('here_private'), jflow_create('there_private');
SELECT jflow_add(f, 'store', uses => 'PQLiteIndexer', uses_with => '{"table": "jflow_hidden.stock", "id": "id", "field": "embedding", "text": "text", "columns": {"secret_price": "int4"}}', replicas => r)
	FROM (VALUES ('here_private', 0)) v (f, r);
SELECT jflow_add('there_private', 'store', uses => 'PQLiteIndexer', uses_with => '{"columns": {"secret_price": "int4"}, "dim": 2}');
SELECT jflow_grant(f, 'jflow_store_guest') FROM (VALUES ('here_private'), ('there_private')) v (f);
SELECT jflow_start('there_private');
SELECT jflow_wait('there_private');
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', text => 'x', embedding => '[1,2]')], 'there_private');
ALTER TABLE jflow_data_jflow_store_owner.there_private_store ADD CONSTRAINT secret_rule CHECK (secret_price < 10);
\set SHOW_CONTEXT always
\set VERBOSITY verbose
CREATE FUNCTION told(flow text, doc jflow_doc) RETURNS TABLE (said text) LANGUAGE plpgsql AS $$
DECLARE message text; detail text; context text; relation text; con text;
BEGIN
	PERFORM count(*) FROM jflow_post('/index', ARRAY[doc], flow);
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT,
		relation = TABLE_NAME, con = CONSTRAINT_NAME;
	-- the last lines are of this function itself
	said := format('%s %s | %s | %s | %s | %s', SQLSTATE, message, detail, relation, con,
		regexp_replace(context, E'\n?SQL statement "SELECT count.*|, request \\d+|PL/pgSQL function told.*', '', 'g'));
	RETURN NEXT;
END $$;
-- the owner is told all
SELECT * FROM told('here_private', jflow_doc(id => 'b', text => 'x', embedding => '[1,2]', tags => '{"secret_price": 20}'));
SELECT said ~ 'secret_rule' AS rule, said ~ 'SQL statement|SQL function|INSERT' AS sql
	FROM told('there_private', jflow_doc(id => 'b', text => 'x', embedding => '[1,2]', tags => '{"secret_price": 20}'));
-- who may post is told the message
SET ROLE jflow_store_guest;
SELECT * FROM told('here_private', jflow_doc(id => 'b', text => 'x', embedding => '[1,2]', tags => '{"secret_price": 20}'));
SELECT * FROM told('here_private', jflow_doc(id => 'b', text => 'divide', embedding => '[1,2]'));
SELECT * FROM told('here_private', jflow_doc(id => 'b', text => 'detail', embedding => '[1,2]'));
SELECT * FROM told('here_private', jflow_doc(id => 'b', text => 'x', embedding => '[1,2,3]'));
SELECT * FROM told('there_private', jflow_doc(id => 'b', text => 'x', embedding => '[1,2]', tags => '{"secret_price": 20}'));
SELECT * FROM told('there_private', jflow_doc(id => 'b', text => 'x', embedding => '[1,2,3]'));
RESET ROLE;
SELECT jflow_drop('here_private'), jflow_drop('there_private', drop_data => true);
DROP FUNCTION told;
SET client_min_messages = error;
DROP SCHEMA jflow_hidden CASCADE;
DROP OWNED BY jflow_store_owner, jflow_store_guest CASCADE;
DROP ROLE jflow_store_owner, jflow_store_guest;
