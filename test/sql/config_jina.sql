-- Do files of the original load, or say why not and which executor it is; and does every flow survive as a document?
SET client_min_messages = notice;
CREATE FUNCTION config_f(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;

-- other keys for executors, nested executors, hubs, JSON in strings, no timeout
SELECT jflow_define('CLIPEncoder', '{"*": "config_f"}');
SELECT jflow_load_yaml($$
!Flow
version: '1'
with: {name: original, timeout_send: 500}
pods:
  - name: segment
    uses:
      jtype: CLIPEncoder
      with: {a: 1}
      metas: {workspace: ./data, py_modules: [a.py]}
      requests: {/index: config_f}
    resources: {memory: 4G}
    connection_list: null
  - name: encode
    uses: jinahub+docker://CLIPEncoder/v0.2.1
    timeout_send: -1
    polling: '{"/index": "ANY", "*": "all"}'
  - {name: secret, uses: "jinahub://CLIPEncoder:secret/latest"}
  - {name: ai, uses: "jinaai+docker://user/CLIPEncoder:latest"}
  - {name: pass, uses: _pass, uses_before_address: x}
$$);
SELECT jsonb_pretty(jflow_save('original'));
SELECT jflow_drop('original');
SELECT jflow_load('{"name": "d", "deployments": [{"name": "x"}]}');
SELECT jflow_save('d');
SELECT jflow_drop('d');
SELECT jflow_load('{"name": "d", "deployments": [], "executors": []}');
SELECT jflow_load('{"name": "d", "pods": {"a": {}}}');
SELECT jflow_load('{"name": "d", "pods": [{"parallel": 2}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "polling": "{\"/index\": 1"}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "polling": "{\"/index\": \"some\"}"}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "timeout_send": -2}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "timeout": "soon"}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "uses": {"with": {}}}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "uses": {"jtype": "CLIPEncoder", "wiht": {}}}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "uses": 1}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": 1}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "uses": "jinahub://Nothing/latest"}]}');

-- files are not loaded
SELECT jflow_load('{"name": "d", "executors": [{"name": "dalle", "uses": "executors/dalle/config.yml"}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "dalle", "uses": "config.yml"}]}');
SELECT jflow_load('{"name": "d", "executors": [{"uses": "docker://image"}]}');
CREATE FUNCTION yml(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
SELECT jflow_load('{"name": "d", "executors": [{"uses": "public.yml"}]}');
SELECT jflow_drop('d');
DROP FUNCTION yml;
SELECT jflow_load('{"name": "d", "executors": [{"uses": "public.yml"}]}');

-- variables are not replaced
SELECT jflow_load('{"name": "d", "executors": [{"name": "a"}, {"name": "x", "replicas": "${{ ENV.REPLICAS }}"}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "uses": "${{ ENV.USES }}"}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "uses_with": {"a": ["see ${{ CONTEXT.a }}"]}}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "workspace": "$HOME"}]}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "workspace": "${MY_1}"}]}');
SELECT jflow_load('{"name": "${{ ENV.NAME }}", "executors": []}');
SELECT jflow_load('{"name": "d", "with": {"workspace": "$HOME"}, "executors": []}');
SELECT jflow_load('{"name": "d", "executors": [{"name": "x", "replicas": 0, "uses_with": {"a": "$5", "b": "$", "c": "a$", "d": "${", "e": "$a", "f": "{$lt}"}, "when": {"a": {"$lt": 1}}}]}');
SELECT jflow_drop('d');
SELECT jflow_create('d', '$HOME');
SELECT jflow_add('d', '${{ x }}', uses_with => '{"a": "${{ ENV.A }}"}', replicas => 0);
SELECT jflow_save('d');
CREATE TEMP TABLE variables AS SELECT jflow_save('d') AS json, jflow_save_yaml('d') AS yaml;
SELECT jflow_drop('d');
SELECT jflow_load_yaml(yaml) FROM variables;
SELECT jflow_save('d') = json AS same FROM variables;
SELECT jflow_drop('d');

-- whatever a flow is, it survives: random ones
SET client_min_messages = warning;
CREATE FUNCTION random_json(depth int) RETURNS jsonb LANGUAGE plpgsql AS $body$
DECLARE
	texts text[] := ARRAY['', 'a', 'null', 'true', '1', ' x ', '- a', 'a: b', '# c', E'line\nline', E'\t', 'ü€', '$A', '${{ B }}', '*', '&a', '<<', '"', '''', '~', '0x1F', '1e3', '.5', repeat('k', 1100)];
BEGIN
	CASE floor(random() * 7)::int
		WHEN 0 THEN RETURN 'null';
		WHEN 1 THEN RETURN to_jsonb(random() < 0.5);
		WHEN 2 THEN RETURN to_jsonb((random() * 1000 - 500)::numeric(20, 3));
		WHEN 3 THEN RETURN CASE WHEN depth = 0 THEN '[]' ELSE
			(SELECT coalesce(jsonb_agg(random_json(depth - 1)), '[]') FROM generate_series(1, (random() * 4)::int)) END;
		WHEN 4 THEN RETURN CASE WHEN depth = 0 THEN '{}' ELSE
			(SELECT coalesce(jsonb_object_agg(texts[1 + floor(random() * 24)::int], random_json(depth - 1)), '{}') FROM generate_series(1, (random() * 4)::int)) END;
		ELSE RETURN to_jsonb(texts[1 + floor(random() * 24)::int]);
	END CASE;
END $body$;
CREATE FUNCTION random_flow() RETURNS text LANGUAGE plpgsql AS $body$
DECLARE
	names text[] := '{}';
	saved jsonb;
	yaml text;
	name text;
BEGIN
	PERFORM jflow_create('random', CASE WHEN random() < 0.5 THEN random_json(0) #>> '{}' END);
	FOR i IN 1..(random() * 6)::int LOOP
		name := 'e' || i || substr(' "''$:\#', 1, (random() * 7)::int);
		PERFORM jflow_add('random', name, uses => (ARRAY['BaseExecutor', 'config_f', 'CLIPEncoder', 'TfidfVectorizer'])[1 + floor(random() * 4)::int],
			uses_with => CASE WHEN random() < 0.5 THEN '{}'::jsonb END,
			requests => CASE WHEN random() < 0.5 THEN '{"/a": "config_f", "*": {"function": "config_f", "idempotent": true}, "/b": null}'::jsonb END,
			needs => CASE WHEN random() < 0.5 AND names <> '{}' THEN
				(SELECT array_agg(DISTINCT n) FROM unnest(names || '{gateway}'::text[]) n WHERE n = names[1] OR random() < 0.3) END,
			replicas => (random() * 2)::int, shards => 1 + (random() * 2)::int,
			polling => (ARRAY[NULL, '"all"', '{"*": "HASH", "/x": "any"}'])[1 + floor(random() * 3)::int]::jsonb,
			workspace => (ARRAY[NULL, 'ws', '"a.b', 'a/b'])[1 + floor(random() * 4)::int],
			"when" => CASE WHEN random() < 0.3 THEN '{"a": {"$gt": 1.50}, "$or": [{"b": null}, {"c": {"$in": ["${{ X }}"]}}]}'::jsonb END,
			uses_before => CASE WHEN random() < 0.3 THEN 'config_f' END, uses_after => CASE WHEN random() < 0.3 THEN 'config_f' END,
			timeout => (ARRAY[NULL, '0', '1 mon 40 days 00:00:00.000001', '-1 mon 31 days', '5 s'])[1 + floor(random() * 5)::int]::interval,
			retries => (ARRAY[NULL, 0, 7])[1 + floor(random() * 3)::int], disable_reduce => random() < 0.5);
		names := names || name;
	END LOOP;
	PERFORM jflow_add('random', 'last', uses => 'config_f', uses_with => jsonb_build_object('any', random_json(4)), floating => random() < 0.5);
	IF random() < 0.5 THEN
		PERFORM jflow_grant('random', 'config_grantee', CASE WHEN random() < 0.5 THEN '{/a,/b}'::text[] END);
	END IF;
	saved := jflow_save('random');
	yaml := jflow_save_yaml('random');
	PERFORM jflow_drop('random');
	PERFORM jflow_load(saved);
	IF jflow_save('random') <> saved THEN RETURN 'json: ' || saved; END IF;
	PERFORM jflow_drop('random');
	PERFORM jflow_load_yaml(yaml);
	IF jflow_save('random') <> saved THEN RETURN 'yaml: ' || saved; END IF;
	PERFORM jflow_drop('random');
	RETURN 'same';
END $body$;
CREATE ROLE config_grantee;
SELECT setseed(0.5);
SELECT random_flow() AS flow, count(*) FROM generate_series(1, 200) GROUP BY 1;
DROP FUNCTION random_flow, random_json;
SELECT jflow_undefine('CLIPEncoder');
DROP FUNCTION config_f;
DROP ROLE config_grantee;
