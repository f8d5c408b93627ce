-- Does a flow survive as one document, in JSON and in YAML, and do wrong documents raise errors?
CREATE FUNCTION f(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
SELECT jflow_create('all', 'every "option"');
SELECT jflow_add('all', 'first ü', replicas => 0);
SELECT jflow_add('all', 'second', uses => 'f', uses_with => '{"a": [1, "x", null, {}], "b": []}', requests => '{"/x": "f", "/y": null}',
	needs => '{gateway}', replicas => 2, shards => 3, polling => '{"*": "ALL", "/x": "hash"}', workspace => 'ws', "when" => '{"a": {"$gt": 1}}',
	uses_before => 'f', uses_after => 'f', timeout => '1 day 00:00:01.5', retries => 0, disable_reduce => true);
SELECT jflow_add('all', 'third', uses => 'TfidfVectorizer', needs => '{first ü,second}', floating => true, polling => '"any"');
SELECT jsonb_pretty(jflow_save('all'));
CREATE TABLE saved AS SELECT jflow_save('all') AS json, jflow_save_yaml('all') AS yaml;
SELECT yaml FROM saved \g (format=unaligned tuples_only=on)
SELECT jflow_drop('all');
SELECT jflow_load(json) FROM saved;
SELECT jflow_save('all') = json AS same FROM saved;
SELECT jflow_drop('all');
SELECT jflow_load_yaml(yaml) FROM saved;
SELECT jflow_save('all') = json AS same FROM saved;
SELECT jflow_load(json) FROM saved;
SELECT jflow_drop('all');

-- a Flow YAML with the seed's settings loads as it is
SELECT jflow_define('MyTokenizer', '{"*": "f"}');
SELECT jflow_define('PQLite', '{"/index": "f"}');
SELECT jflow_load_yaml($$
jtype: Flow
version: '1'
with:
  port_expose: 12345
  protocol: http
executors:
  - name: fast_executor
  - name: slow_executor
    uses: MyTokenizer
    replicas: 2
  - name: pqlite_executor
    uses: 'jinahub://PQLite'
    uses_with:
      dim: 5215
      metric: cosine
    uses_metas:
      workspace: CHANGE-TO-YOUR-PATH/workspace
    install_requirements: true
    shards: 2
    polling: {'/index': 'ANY', '/search': 'ALL', '*': 'ALL'}   # per endpoint
$$);
SELECT jflow_save('flow');
SELECT jflow_drop('flow');

-- defaults of the flow, names that are missing, anchors
SELECT jflow_load_yaml($$
!Flow
with: {name: d, polling: all, timeout_send: 1500}
executors:
- {}
- &second {shards: 2, no_reduce: true, needs: gateway}
- {polling: any, timeout: 2, needs: [executor0, executor1]}
$$);
SELECT jflow_save('d');
SELECT jflow_drop('d');
SELECT jflow_load('{"name": "e"}');
SELECT jflow_load('{"name": "e"}');
SELECT jflow_drop('e');

-- wrong
SELECT jflow_load('[]');
SELECT jflow_load('{"jtype": "Executor"}');
SELECT jflow_load('{"jtype": "Deployment", "with": {"uses": "TextSplitter"}}');
SELECT jflow_load('{"executers": []}');
SELECT jflow_load('{"executors": {}}');
SELECT jflow_load('{"executors": [1]}');
SELECT jflow_load('{"executors": [{"shard": 2}]}');
SELECT jflow_load('{"executors": [{"shards": "2"}]}');
SELECT jflow_load('{"executors": [{"shards": 2.5e20}]}');
SELECT jflow_load('{"executors": [{"needs": [1]}]}');
SELECT jflow_load('{"executors": [{"needs": ["x"]}]}');
SELECT jflow_load('{"executors": [{"name": "a"}, {"name": "a"}]}');
SELECT jflow_load('{"executors": [{"floating": 1}]}');
SELECT jflow_load('{"executors": [{"timeout": "soon"}]}');
SELECT jflow_load('{"executors": [{"uses": "jinahub://Nothing"}]}');
SELECT jflow_load('{"executors": [{"uses_metas": {"workspce": "x"}}]}');
SELECT count(*) FROM jflow.flow;
SELECT jflow_load_yaml('');
SELECT jflow_load_yaml('just text');
SELECT jflow_load_yaml('a: [1');
SELECT jflow_load_yaml(E'a: 1\na: 2');
SELECT jflow_load_yaml(E'? [a]\n: 1');
SELECT jflow_load_yaml(E'name: a\n---\nname: b');
SELECT jflow_load_yaml(E'name: *nothing');
SELECT jflow_load_yaml(E'a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e]');
SELECT jflow_load_yaml(repeat('[', 20000));

-- pictures; names cannot break out of their labels
SELECT jflow_create('plot');
SELECT jflow_add('plot', 'a"];x-->y["', replicas => 0);
SELECT jflow_add('plot', 'b\', shards => 2, needs => '{gateway}', "when" => '{"t": "<script>"}');
SELECT jflow_add('plot', 'c', floating => true, replicas => 3);
SELECT jflow_add('plot', 'd', needs => ARRAY['a"];x-->y["', 'b\'], replicas => 0);
SELECT jflow_plot('plot') \g (format=unaligned tuples_only=on)
SELECT jflow_plot('plot', 'dot') \g (format=unaligned tuples_only=on)
SELECT jflow_plot('plot', 'png');
SELECT jflow_plot('none');
SELECT jflow_drop('plot');
SELECT jflow_undefine('MyTokenizer'), jflow_undefine('PQLite');
DROP TABLE saved;
DROP FUNCTION f;

-- what YAML would fold, refuse or take for something else survives a round trip
CREATE FUNCTION roundtrip(uses_with jsonb, OUT as_json bool, OUT as_yaml bool) LANGUAGE plpgsql AS $$
DECLARE j jsonb; y text;
BEGIN
	PERFORM jflow_create('hard', U&'\0085 \2028 \2029 \007F \FEFF \FFFE \+01F600 "q" \\'||E'\t\n\r\x01 end ');
	PERFORM jflow_add('hard', 'executor: - {x}', uses_with => uses_with, replicas => 0, timeout => '1 mon -2 days 03:04:05.000006');
	j := jflow_save('hard'); y := jflow_save_yaml('hard');
	PERFORM jflow_drop('hard'); PERFORM jflow_load(j); as_json := jflow_save('hard') = j;
	PERFORM jflow_drop('hard'); PERFORM jflow_load_yaml(y); as_yaml := jflow_save('hard') = j;
	PERFORM jflow_drop('hard');
END $$;
SELECT * FROM roundtrip('{"": "", "null": "null", "t": "true", "n": "1.50", "big": 1e100, "neg": -0.5,
	"arr": [[[]], [{}], [[1, [2]]], [{"a": [{"b": {}}]}], null, true, " x ", "- a", "# c", "*a", "&a", "!t", "|", ">", "%", "~", "0x10"]}');
SELECT * FROM roundtrip(jsonb_build_object(repeat('k', 3000), 1, repeat('ü', 600), '{"x": {"y": [1]}}'::jsonb));
SELECT * FROM roundtrip((SELECT jsonb_build_object('long', jsonb_agg(i)) FROM generate_series(1, 150000) i));
DROP FUNCTION roundtrip;
-- nothing takes libyaml's time
SELECT jflow_load_yaml(repeat('{a: ', 1000000));
SELECT jflow_load_yaml(repeat('x', 17000000));
SET statement_timeout = '20s';
SELECT jflow_load_yaml(E'executors:\n' || string_agg(format(E'- &a%s x\n', i), '')) FROM generate_series(1, 100000) i;
SELECT jflow_load_yaml(E'executors:\n' || string_agg(format(E'- &a%s x\n', i), '') || repeat(E'- *a1\n', 300000)) FROM generate_series(1, 30000) i;
SELECT jflow_load_yaml(string_agg(format(E'%%TAG !a%s! b\n', i), '') || '--- a') FROM generate_series(1, 100000) i;
SELECT jflow_load_yaml(repeat('[', 150) || repeat('a, ', 100000) || repeat(']', 150));
SET statement_timeout = 0;
SELECT jflow_load_yaml('a: &' || repeat('x', 200) || ' 1');
SELECT jflow_load_yaml('a: &x [*x]');
SELECT jflow_load_yaml('a: &x {<<: *x}');

-- merge keys, a byte order mark, strings that are tagged
SELECT jflow_load_yaml(E'\uFEFFbase: &base {replicas: 0, shards: 2}\nname: m\n');
SELECT jflow_load_yaml(E'\uFEFF' || $$
name: merged
executors:
- &one {name: one, replicas: 0, shards: 2, uses_with: {a: !!str 1, b: ! 2, c: 3}}
- {name: two, <<: *one, shards: 3}
- name: three
  <<: [{shards: 4}, *one]
  needs: two
  uses_with: {<<: [{a: 1, x: {y: 1}}, {a: 2, b: 2}], c: 3, "<<": 4}
- {<<: {<<: {shards: 5}, name: four}, replicas: 0}
$$);
SELECT jsonb_pretty(jflow_save('merged') -> 'executors');
SELECT jflow_drop('merged');
SELECT jflow_load_yaml('executors: [{<<: x}]');
SELECT jflow_load_yaml('executors: [{<<: [{a: 1}, x]}]');
SELECT jflow_load_yaml('executors: [{<<: {a: 1}, <<: {b: 1}, b: 2, b: 3}]');
SELECT jflow_load('{"executors": [{"timeout": 1e300}]}');

-- a later Flow YAML of Jina, with what it says about joins, gateways and hosting
CREATE FUNCTION f(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
SELECT jflow_load_yaml($$
jtype: Flow
version: '1'
with: {name: jina3, protocol: [grpc, http], port: [51000, 51001], prefetch: 100, cors: true, env: {A: b}}
gateway: {uses: CustomGateway, port: 12345}
jcloud: {version: 3.22.0}
executors:
  - {name: left, uses: f, needs: gateway, uses_requests: {/index: f}, uses_dynamic_batching: {/index: {preferred_batch_size: 10}}}
  - {name: right, uses: f, needs: gateway, when: {tags__lang: {$eq: en}}, timeout_ready: -1, env: {B: c}}
  - {name: joined, method: needs, needs: [left, right], no_reduce: true, floating: false, retries: -1}
$$);
SELECT jflow_save('jina3');
SELECT jflow_load('{"executors": [{"method": "inspect"}]}');
SELECT jflow_drop('jina3');
DROP FUNCTION f;
