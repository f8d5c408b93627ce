-- Is what cannot be a server, a key or an option of an HttpExecutor refused, and
-- does nobody reach a host that he was not given?
\set VERBOSITY default
SET client_min_messages = warning;
CREATE ROLE http_owner;
CREATE ROLE http_other;
GRANT CREATE ON SCHEMA public TO http_owner;

-- servers
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http;
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://127.0.0.1:1/');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://127.0.0.1:1/', provider 'closedai');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://127.0.0.1:1/', provider 'tei', ulr 'x');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://127.0.0.1:1/', provider 'template');
DO $$
DECLARE
	u text;
	s text;
	d text;
BEGIN
	FOREACH u IN ARRAY ARRAY['ftp://h/', 'file:///etc/passwd', 'h', '', 'http://', 'http:///x', 'http://:80/', 'http://user@h/',
		'https://user:secret@h/x', 'http://h\@g/', 'http://h /', E'http://h/\n', 'http://h/#x', 'socks5h://h'] LOOP
		BEGIN
			EXECUTE format('CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url %L, provider ''tei'')', u);
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS s = RETURNED_SQLSTATE, d = PG_EXCEPTION_DETAIL;
			RAISE WARNING '%: %: % %', u, s, SQLERRM, d;
		END;
	END LOOP;
END $$;
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'tei', proxy 'http://u:p@proxy/');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'tei', proxy 'ftp://proxy/');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'tei', max_answer '0');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'tei', max_answer '1x');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'tei', ca_file 'ca.pem');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'tei', key_header 'Host');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'tei', key_header E'X\r\nY');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'tei', authentication 'maybe');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'template', request '{"x": 1', response '$');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'template', request '{"x": 1}', response '$');
CREATE SERVER s FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://h/', provider 'template', request '{"x": "$texts"}', response '$.a[');
CREATE SERVER closed FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://127.0.0.1:1/', provider 'tei');
CREATE SERVER keyed FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://127.0.0.1:1/', provider 'openai');
ALTER SERVER closed OPTIONS (DROP url);
ALTER FOREIGN DATA WRAPPER jflow_http OPTIONS (x '1');
CREATE FOREIGN TABLE t (a int) SERVER closed OPTIONS (x '1');

-- who may name a host
SET ROLE http_owner;
CREATE SERVER mine FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://169.254.169.254/', provider 'tei');
RESET ROLE;
-- and, as one who may, still no file of the server
GRANT USAGE ON FOREIGN DATA WRAPPER jflow_http TO http_owner;
SET ROLE http_owner;
CREATE SERVER mine FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'https://h/', provider 'tei', ca_file '/dev/zero');
CREATE SERVER mine FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'https://h/', provider 'tei');
ALTER SERVER mine OPTIONS (ca_file '/etc/passwd');
DROP SERVER mine;
RESET ROLE;
REVOKE USAGE ON FOREIGN DATA WRAPPER jflow_http FROM http_owner;
SET ROLE http_owner;
CREATE USER MAPPING FOR http_owner SERVER keyed OPTIONS (api_key 'sk-1');
RESET ROLE;

-- keys; their values are in no error
CREATE USER MAPPING FOR http_owner SERVER keyed OPTIONS (api_key E'sk-secret\nX: y');
CREATE USER MAPPING FOR http_owner SERVER keyed OPTIONS (api_key 'sk secret');
CREATE USER MAPPING FOR http_owner SERVER keyed OPTIONS (api_key '');
CREATE USER MAPPING FOR http_owner SERVER keyed OPTIONS (password 'x');
CREATE USER MAPPING FOR http_owner SERVER keyed OPTIONS (api_key 'a', api_key_file '/b');
CREATE USER MAPPING FOR http_owner SERVER keyed OPTIONS (api_key_file 'b');
GRANT USAGE ON FOREIGN SERVER keyed TO http_owner;
SET ROLE http_owner;
CREATE USER MAPPING FOR http_owner SERVER keyed OPTIONS (api_key_file '/etc/passwd');

-- options of the executor
SELECT jflow_create('http');
SELECT jflow_add('http', 'e', uses => 'HttpExecutor');
DO $$
DECLARE
	o text;
	s text;
	h text;
BEGIN
	FOREACH o IN ARRAY ARRAY['"servr": "s"', '"api_key": "sk-x"', '"url": "http://h/"', '"batch": 0', '"batch": "x"', '"concurrency": 1000',
		'"dimensions": 20000', '"task": "think"', '"input": "blob"', '"prefix": 1', '"prefix": {"/x": 1}', '"timeout": "soon"', '"timeout": "0 s"',
		'"timeout": "1 month"', '"retries": -1', '"skip_embedded": 1', '"on_missing": "cry"', '"encoding": "hex"', '"model": ""', '"server": 1'] LOOP
		BEGIN
			PERFORM jflow_add('http', 'e', uses => 'HttpExecutor', uses_with => ('{"server": "closed", ' || o || '}')::jsonb);
			RAISE WARNING '% was taken', o;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS s = RETURNED_SQLSTATE, h = PG_EXCEPTION_HINT;
			RAISE WARNING '%: % % %', o, s, SQLERRM, h;
		END;
	END LOOP;
END $$;
SELECT jflow_add('http', 'e', uses => 'HttpExecutor', replicas => 0,
	uses_with => '{"server": "closed", "retries": 0, "timeout": 1.5, "connect_timeout": "1 s", "prefix": {"/search": "q: "}}');

-- calls
SELECT count(*) FROM jflow_post('/x', '{}'::jflow_doc[], 'http');
SELECT jflow_post('/x', ARRAY['a'], 'http');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER closed TO http_owner;
SELECT jflow_grant('http', 'http_other');
\set VERBOSITY terse
SELECT jflow_post('/x', ARRAY['a'], 'http');
\set VERBOSITY default
SET ROLE http_other;
-- what the owner may do, who posts need not
\set VERBOSITY terse
SELECT jflow_post('/x', ARRAY['a'], 'http');
\set VERBOSITY default
SELECT id, text FROM jflow_post('/delete', '[{"id": "1", "text": "a"}]'::jsonb, 'http');
SELECT jflow.http_call('{}', '{}');
SET ROLE http_owner;
SELECT jflow_create('nokey');
SELECT jflow_add('nokey', 'e', uses => 'HttpExecutor', uses_with => '{"server": "keyed"}', replicas => 0);
SELECT jflow_post('/x', ARRAY['a'], 'nokey');
SELECT jflow_create('noserver');
SELECT jflow_add('noserver', 'e', uses => 'HttpExecutor', uses_with => '{"server": "nowhere"}', replicas => 0);
SELECT jflow_post('/x', ARRAY['a'], 'noserver');
-- a function of another executor has nothing to send
SELECT jflow_create('other');
SELECT jflow_add('other', 'e', uses => 'jflow.http_call', replicas => 0);
SELECT jflow_post('/x', ARRAY['a'], 'other');
RESET ROLE;

SELECT jflow_drop(f) FROM unnest(ARRAY['http', 'nokey', 'noserver', 'other']) f;
DROP SERVER closed, keyed CASCADE;
REVOKE CREATE ON SCHEMA public FROM http_owner;
DROP ROLE http_owner, http_other;
