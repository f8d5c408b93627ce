# Are texts sent to a service in its format, answers put where they belong, calls
# repeated where that helps and only there, and is nobody told a key?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use JflowService;
use PostgreSQL::Test::Utils;
use Test::More;

start_service();
# neither a proxy of the environment nor a name server that hangs may matter
$ENV{http_proxy} = $ENV{HTTP_PROXY} = $ENV{https_proxy} = $ENV{all_proxy} = 'http://127.0.0.1:1';
$ENV{LD_PRELOAD} = $ENV{JFLOW_HANG};
my $node = new_node('http', "log_statement = 'none'");
delete @ENV{qw(http_proxy HTTP_PROXY https_proxy all_proxy LD_PRELOAD)};
prepare_database($node);

# A flow of one HttpExecutor in the caller's session; more options as JSON members.
sub add_http
{
	my ($flow, $server, $options, $extra) = @_;
	$options = $options ? ", $options" : '';
	$extra = $extra ? ", $extra" : ', replicas => 0';
	owner_sql($node, qq{SELECT jflow_create('$flow');
		SELECT jflow_add('$flow', 'e', uses => 'HttpExecutor', uses_with => '{"server": "$server"$options}'$extra)});
	return;
}

# A server and a flow for what the service shall do.
sub add_case
{
	my ($name, $path, $options, $extra) = @_;
	add_server($node, $name, $path . ($path =~ /\?/ ? '&' : '?') . "name=$name");
	add_http($name, $name, $options, $extra);
	return;
}

sub vectors
{
	my ($flow, $texts, $endpoint) = @_;
	$endpoint = '/index' unless defined $endpoint;
	return ask($node, "SELECT string_agg(embedding::text, ' ') FROM jflow_post('$endpoint', ARRAY[$texts], '$flow')");
}

sub counter
{
	my ($flow, $counter) = @_;
	return $node->safe_psql('postgres', "SELECT value FROM jflow_stat_counters WHERE flow = '$flow' AND counter = '$counter'");
}

# formats
my $expected = '[0.632,-0.396,-0.557] [-0.608,-0.308,-0.58] [0.038,-0.629,0.152]';
$node->safe_psql('postgres', qq{CREATE SERVER template FOREIGN DATA WRAPPER jflow_http OPTIONS (
	url '@{[service_url('template?dim=3')]}', provider 'template',
	request '{"data": "\$texts", "model": "\$model", "more": [{"dimensions": "\$dimensions"}]}', response '\$.result.vectors[*]');
	GRANT USAGE ON FOREIGN SERVER template TO flow_owner});
add_http('template', 'template', '"model": "m"');
add_case($_, "$_?dim=3&order=reverse", '"model": "m", "batch": 2') for qw(openai ollama tei cohere);
is(vectors($_, "'a', 'b', 'c'"), $expected, "vectors of $_") for qw(openai ollama tei cohere template);
add_case('base64', 'openai?dim=3', '"model": "m", "encoding": "base64"');
is(vectors('base64', "'a', 'b', 'c'"), $expected, 'vectors in base64');
like(ask_service('stats?name=cohere'), qr/input_type\\":\\"search_document/, 'documents are documents');
vectors('cohere', "'a'", '/search');
like(ask_service('stats?name=cohere'), qr/input_type\\":\\"search_query/, 'queries are queries');

add_case('prefix', 'tei?dim=3', '"prefix": {"/search": "query: ", "*": "passage: "}, "input": "tags.title"');
my ($escaped, $bytes) = $node->safe_psql('postgres', 'SHOW server_encoding') eq 'UTF8' ? ('\u00e9', "\xc3\xa9") : ('e', 'e');
owner_sql($node, qq{SELECT * FROM jflow_call('/index', '[{"text": "x", "tags": {"title": "T\\"\\\\$escaped\\n"}}, {"text": "y"}]', 'prefix')});
like(ask_service('stats?name=prefix'), qr/passage: T\\\\\\"\\\\\\\\$bytes\\\\n\\"\]/, 'prefix, a tag as the text, and its quoting');
owner_sql($node, q{SELECT * FROM jflow_call('/search', '[{"tags": {"title": "T"}}]', 'prefix')});
like(ask_service('stats?name=prefix'), qr/query: T/, 'another prefix for another endpoint');

add_case('said', 'openai', '"model": "m", "task": "generate"');
add_case('said2', 'ollama', '"model": "m", "task": "generate"');
add_case('said3', 'cohere', '"model": "m", "task": "generate"');
is(ask($node, "SELECT string_agg(text, ', ') FROM jflow_post('/x', ARRAY['a', 'b'], '$_')"), 'said: a, said: b', "texts of $_")
  for qw(said said2 said3);

my $matches = q{[{"text": "a", "matches": [{"id": "1", "score": 9, "text": "bbb"}, {"id": "2", "score": 8, "text": "aaab"},
	{"id": "3", "score": 7}, {"id": "4", "score": 6, "text": "aa"}]}, {"text": "z"}]};
for my $provider (qw(openai cohere tei))
{
	add_case("rank_$provider", $provider, '"task": "rerank", "model": "m"');
	is(ask($node, qq{SELECT string_agg(m->>'id' || ' ' || coalesce(m->>'score', '-'), ', ' ORDER BY n)
		FROM jsonb_array_elements(jflow_call('/search', '$matches', 'rank_$provider')->0->'matches') WITH ORDINALITY AS x(m, n)}),
		'4 0, 2 0.25, 1 1, 3 -', "ranks of $provider");
}
fails_with($node, qq{SELECT jflow_call('/x', '$matches', 'olrank')}, '0A000', qr/does not support the task/, 'a task that a provider lacks')
  if add_case('olrank', 'ollama', '"task": "rerank"') || 1;

# a function of the owner's that calls the one that waits, with documents of its own
owner_sql($node, q{CREATE FUNCTION upper_call(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO written VALUES (docs[1].text);
	RETURN jflow.http_call(ARRAY(SELECT jflow_doc(id => d.id, text => upper(d.text)) FROM unnest(docs) d), parameters);
END $$});
add_case('called', 'openai', '"model": "m", "task": "generate"', q{requests => '{"/own": "upper_call"}', replicas => 1});
start_flow($node, 'called');
is(ask($node, q{SELECT string_agg(text, ', ') FROM jflow_post('/own', ARRAY['a', 'b'], 'called')}), 'said: A, said: B', 'answers for documents of a function that calls');
is(ask($node, q{SELECT string_agg(text, ', ') FROM jflow_post('/x', ARRAY['a', 'b'], 'called')}), 'said: a, said: b', 'and for those that are posted');
is($node->safe_psql('postgres', q{SELECT string_agg(text, ', ') FROM written}), 'a', 'what it has written is there once');

add_case('far', 'jflow', '"model": "there"');
is(ask($node, q{SELECT string_agg(id || text, ' ') FROM jflow_post('/encode', '[{"id": "1", "text": "a"}, {"id": "2", "text": "b"}]'::jsonb, 'far')}),
	'1a 2b', 'documents of another flow');
for my $n (1 .. 7)
{
	my $far = "far$n";
	add_case($far, 'jflow', '"model": "there", "batch": 2');
	is( ask($node, qq{SELECT string_agg(id || coalesce(text, '-') || coalesce(embedding::text, ''), ' ')
		FROM jflow_post('/encode', (SELECT jsonb_agg(CASE i % 3 WHEN 0 THEN jsonb_build_object('id', i::text, 'text', 'x', 'embedding', '[1]'::jsonb)
			ELSE jsonb_build_object('id', i::text, 'text', 't' || i) END ORDER BY i) FROM generate_series(1, $n) i), '$far')}),
		join(' ', map { $_ . ($_ % 3 ? "t$_" : 'x[1]') } 1 .. $n), "each of $n documents once, in its place");
}
like(ask_service('stats?name=far'), qr/endpoint\\":\\"\/encode\\".*\\"flow\\":\\"there\\"/, 'and what it was asked');

# what is sent, and what is not
add_case('sent', 'tei?dim=3&delay=20', '"batch": 4, "concurrency": 3');
is(ask($node, q{SELECT count(embedding) FROM jflow_post('/index', (SELECT array_agg('t' || i) FROM generate_series(1, 40) i), 'sent', request_size => 40)}),
	'40', 'many texts');
my $stats = service_stats('sent');
is("$stats->{calls} $stats->{texts} $stats->{most}", '10 40 3', 'batches by number, several calls at once');
add_case('bytes', 'tei?dim=3', '"batch_bytes": 10');
is(vectors('bytes', "'aaaa', 'bbbbbb', 'c', repeat('x', 50), 'd'") =~ tr/[//, 5, 'texts of different length');
is(service_stats('bytes')->{calls}, 4, 'batches by bytes');
add_case('skip', 'tei?dim=3');
is(ask($node, q{SELECT string_agg(coalesce(embedding::text, '-'), ' ') FROM
	jflow_post('/index', '[{"text": "a", "embedding": [1,2,3]}, {"text": ""}, {"id": "1"}, {"text": "a"}]'::jsonb, 'skip')}),
	'[1,2,3] - - [0.632,-0.396,-0.557]', 'what has a vector, or no text, passes');
is(service_stats('skip')->{texts}, 1, 'and is not sent');
ask($node, "SELECT jflow_post('$_', ARRAY['a'], 'skip')") for qw(/delete /fetch /filter /status /clear);
is(service_stats('skip')->{texts}, 1, 'nor what is no text');
add_case('missing', 'tei?dim=3', '"on_missing": "error"');
fails_with($node, q{SELECT jflow_post('/index', '[{"id": "nix"}]'::jsonb, 'missing')}, '22004', qr/document "nix" has no text/, 'a document without text');
add_case('cache', 'tei?dim=3', '"cache": 2');
my $posts = join '; ', map { "SELECT string_agg(embedding::text, ' ') FROM jflow_post('/index', ARRAY[$_], 'cache')" }
  "'a', 'b'", "'a', 'b'", "'c', 'a'", "'b'";
is(ask($node, $posts), join("\n", map { vectors('tei', $_) } "'a', 'b'", "'a', 'b'", "'c', 'a'", "'b'"), 'each text gets its own vector');
is(service_stats('cache')->{texts}, 4, 'texts that were sent before are not sent');
is(counter('cache', 'cached'), '3', 'and counted');

# tries
add_case('busy', 'tei?dim=3&status=503&times=2');
is(vectors('busy', "'a'"), '[0.632,-0.396,-0.557]', 'tried again after 503');
is(counter('busy', 'calls') . counter('busy', 'retries'), '32', 'and counted');
add_case('cut', 'tei?dim=3&cut=head&times=2');
is(vectors('cut', "'a'"), '[0.632,-0.396,-0.557]', 'tried again after a lost connection');
add_case('cutbody', 'tei?dim=3&cut=body&times=1');
is(vectors('cutbody', "'a'"), '[0.632,-0.396,-0.557]', 'tried again after half an answer');
add_case('down', 'tei?status=500', '"retries": 1');
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a'], 'down')}, '38000', qr/answered with status 500.*Tried 2 times: told to/s, 'never good');
is(service_stats('down')->{calls}, 2, 'so many tries');
for my $status (401, 403, 404, 501)
{
	add_case("no$status", "tei?status=$status");
	fails_with($node, "SELECT jflow_post('/x', ARRAY['a'], 'no$status')", $status < 404 ? '28000' : $status == 404 ? 'HV000' : '38000',
		qr/status $status/, "status $status");
	is(service_stats("no$status")->{calls}, 1, 'not tried again');
}
add_case('limits', 'tei?dim=3&status=429&retry_after=1&times=1', '"batch": 1, "concurrency": 1', 'replicas => 2');
start_flow($node, 'limits');
is(ask($node, q{SELECT count(embedding) FROM jflow_post('/index', (SELECT array_agg('t' || i) FROM generate_series(1, 20) i), 'limits', request_size => 1)}),
	'20', 'after a pause all are sent');
is(counter('limits', 'throttled'), '1', 'the pause was obeyed by both replicas');
add_case('long', 'tei?status=429&retry_after=86400');
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a'], 'long')}, '53000', qr/takes no more calls/, 'no pause of a day');
add_server($node, 'closed', 'http://127.0.0.1:1/', provider => 'tei');
add_http('closed', 'closed', '"retries": 1');
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a'], 'closed')}, '08001', qr/could not connect to server "closed".*Tried 2 times/s, 'nobody there');

# texts that are refused
add_case('bad', 'tei?dim=3&bad=poison');
fails_with($node, q{SELECT jflow_post('/x', '[{"id":"1","text":"a"},{"id":"2","text":"b"},{"id":"3","text":"poison"},{"id":"4","text":"d"}]'::jsonb, 'bad')},
	'22000', qr/refused document "3".*status 400: a text is not taken/s, 'a bad text is named');
is(ask($node, q{SELECT count(embedding) FROM jflow_post('/x', (SELECT array_agg(CASE i % 40 WHEN 7 THEN 'poison' ELSE 'text ' || i END)
	FROM generate_series(1, 120) i), 'bad', continue_on_error => true)}), '117', 'and costs itself alone');
cmp_ok(service_stats('bad')->{texts}, '<', 120 * 8, 'what was answered is not sent again and again');
add_case('badfar', 'tei?dim=3&bad=poison', '"batch": 1, "concurrency": 1', 'replicas => 1');
start_flow($node, 'badfar');
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a', 'b', 'c', 'poison'], 'badfar')}, '22000', qr/refused document/, 'in a replica, after others were answered');
is(vectors('badfar', "'a'"), '[0.632,-0.396,-0.557]', 'which goes on');
add_case('large', 'tei?dim=3&max=3');
is(vectors('large', "'a', 'b', 'c'"), $expected, 'few are taken');
is(ask($node, q{SELECT count(embedding) FROM jflow_post('/x', (SELECT array_agg('t' || i) FROM generate_series(1, 50) i), 'large')}),
	'50', 'halves of what was too large');

# wrong answers
my %wrong = (count => qr/It has 1 vectors instead of 2/, type => qr/A vector is no array of numbers/, nan => qr/no valid JSON: it has an unknown word/,
	range => qr/a number that is not finite/, text => qr/no valid JSON/, twice => qr/An index is there twice/, deep => qr/nested too deeply/, empty => qr/takes too much memory/,
	dim => qr/4 dimensions instead of 3/);
for my $answer (sort keys %wrong)
{
	add_case("w$answer", "openai?dim=3&answer=$answer", '"dimensions": 3');
	fails_with($node, "SELECT jflow_post('/x', ARRAY['a', 'b'], 'w$answer')", 'HV00M', $wrong{$answer}, "a wrong answer: $answer");
}
add_case('endless', 'tei?answer=endless', '"timeout": "500 ms", "retries": 0');
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a'], 'endless')}, '08006', qr/did not answer in time/, 'an answer without end');
add_case('big', 'tei?answer=big');
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a'], 'big')}, '54000', qr/larger than 65536 kB/, 'an answer of a gigabyte');

# other places
add_case('moved', 'tei?dim=3&status=308&times=1&to=/openai/../tei');
is(vectors('moved', "'a'") =~ tr/,//, 7, 'a redirect to the same place');
my ($port) = service_url('') =~ /:(\d+)/;
my %places = (host => "http://localhost:$port/tei", port => 'http://127.0.0.1:1/tei', scheme => "https://127.0.0.1:$port/tei",
	user => "http://a:b\@127.0.0.1:$port/tei", file => 'file:///etc/passwd', round => '/tei?status=307%26to=/tei');
for my $place (sort keys %places)
{
	add_case("to$place", 'tei?status=307&to=' . $places{$place});
	next if $place eq 'round';

	# newer libcurl leaves the user out of it, so that the place is the same one
	if ($place eq 'user')
	{
		like(ask($node, "SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'touser')"), qr/^1$|^HV00N: .*redirects to another place/, 'a redirect: user');
		next;
	}
	fails_with($node, "SELECT jflow_post('/x', ARRAY['a'], 'to$place')", 'HV00N', qr/redirects to another place/, "a redirect: $place");
}
add_server($node, 'proxied', "http://nowhere.invalid/tei?dim=3", provider => 'tei', proxy => service_url(''));
add_http('proxied', 'proxied');
is(vectors('proxied', "'a'"), '[0.632,-0.396,-0.557]', 'by a proxy');

# TLS
SKIP:
{
	my ($tls_port, $cert) = start_tls();
	skip 'no openssl or python3 here', 5 unless $tls_port;
	add_server($node, 'trusted', "https://localhost:$tls_port/tei?dim=3", provider => 'tei', ca_file => $cert);
	add_server($node, 'untrusted', "https://localhost:$tls_port/tei?dim=3", provider => 'tei');
	add_server($node, 'misnamed', "https://127.0.0.1:$tls_port/tei?dim=3", provider => 'tei', ca_file => $cert);
	add_http($_, $_) for qw(trusted untrusted misnamed);
	is(vectors('trusted', "'a'"), '[0.632,-0.396,-0.557]', 'a certificate of an authority that is named');
	fails_with($node, "SELECT jflow_post('/x', ARRAY['a'], '$_')", '08001', qr/the certificate of server "$_" could not be verified/, "a certificate: $_")
	  for qw(untrusted misnamed);
}

# cancels
add_case('slow', 'tei?dim=3&delay=60000', undef, 'replicas => 1');
add_server($node, 'hangs', 'http://hangs.invalid/', provider => 'tei');
add_http('hangs', 'hangs', undef, 'replicas => 1');
for my $flow (qw(slow hangs))
{
	start_flow($node, $flow);
	my $post = post_in_background($node, "SELECT jflow_post('/x', ARRAY['a'], '$flow')");
	wait_state($node, "SELECT count(*) = 1 FROM jflow_stat_replicas r JOIN pg_stat_activity a USING (pid)
		WHERE flow = '$flow' AND r.state = 'busy' AND wait_event = 'Extension' AND backend_xid IS NULL AND backend_xmin IS NULL",
		"$flow: nothing is held while it waits");
	$node->safe_psql('postgres', "SELECT jflow_cancel(post) FROM jflow_stat_replicas WHERE flow = '$flow'");
	wait_state($node, "SELECT state = 'idle' FROM jflow_stat_replicas WHERE flow = '$flow'", "$flow: a cancel frees the replica");
	like(join('', finish_background($post)), qr/57014/, "$flow: and the poster");
	fails_with($node, "SET statement_timeout = '300ms'; SELECT jflow_post('/x', ARRAY['a'], '$flow')", '57014', qr/statement timeout/,
		"$flow: a limit of time");
	wait_state($node, "SELECT state = 'idle' FROM jflow_stat_replicas WHERE flow = '$flow'", "$flow: the replica is free again");
}
cmp_ok(service_stats('slow')->{now}, '>', 0, 'the service has not noticed');
add_http('inline', 'slow');
fails_with($node, q{SET statement_timeout = '300ms'; SELECT jflow_post('/x', ARRAY['a'], 'inline')}, '57014', qr/statement timeout/,
	'a limit of time in the session');

# rights and keys
my $key = 'sk-do-not-show-me-0123456789';
add_server($node, 'secret', "openai?dim=3&key=$key", authentication => undef);
add_http('secret', 'secret', '"retries": 0');
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a'], 'secret')}, '28000', qr/no key of role "flow_owner" for server "secret"/, 'no mapping');
$node->safe_psql('postgres', 'CREATE USER MAPPING FOR flow_owner SERVER secret');
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a'], 'secret')}, '28000', qr/no key of role/, 'a mapping without key');
$node->safe_psql('postgres', "SET log_statement = 'none'; ALTER USER MAPPING FOR flow_owner SERVER secret OPTIONS (api_key 'sk-wrong-9876543210')");
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a'], 'secret')}, '28000', qr/refused the key of role "flow_owner"/, 'a wrong key');
$node->safe_psql('postgres', "ALTER USER MAPPING FOR flow_owner SERVER secret OPTIONS (SET api_key '$key')");
is(vectors('secret', "'a'"), '[0.632,-0.396,-0.557]', 'the key of the owner');
$node->safe_psql('postgres', "DROP USER MAPPING FOR flow_owner SERVER secret; CREATE USER MAPPING FOR PUBLIC SERVER secret OPTIONS (api_key '$key')");
is(vectors('secret', "'a'"), '[0.632,-0.396,-0.557]', 'the key of all');
is(ask($node, 'SET ROLE flow_owner; SELECT umoptions IS NULL FROM pg_user_mappings'), 't', 'which who uses it does not see');
add_server($node, 'echo', 'tei?status=400', authentication => undef);
add_server($node, 'echo2', 'tei?key=another&key_status=400', authentication => undef);
$node->safe_psql('postgres', "CREATE USER MAPPING FOR PUBLIC SERVER echo2 OPTIONS (api_key '$key')");
add_http('echo2', 'echo2');
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a'], 'echo2')}, '22000', qr/wrong key: Bearer \*+/, 'what repeats the key');
add_server($node, 'header', "tei?dim=3&key=$key&header=api-key", authentication => 'key', key_header => 'api-key');
append_to_file($node->data_dir . '/key', "$key\n");
$node->safe_psql('postgres', "CREATE USER MAPPING FOR flow_owner SERVER header OPTIONS (api_key_file '" . $node->data_dir . "/key')");
add_http('header', 'header');
is(vectors('header', "'a'"), '[0.632,-0.396,-0.557]', 'a key of a file, in another header');
$node->safe_psql('postgres', 'REVOKE USAGE ON FOREIGN SERVER header FROM flow_owner');
fails_with($node, q{SELECT jflow_post('/x', ARRAY['a'], 'header')}, '42501', qr/permission denied for foreign server header/, 'no USAGE');
my $seen = $node->safe_psql('postgres', "SELECT jflow_save(name) FROM jflow_status s(name) UNION ALL SELECT to_jsonb(r) FROM jflow_stat_replicas r
	UNION ALL SELECT to_jsonb(e) FROM jflow.executor e UNION ALL SELECT to_jsonb(m) FROM jflow_metrics m");
unlike($seen, qr/sk-/, 'no key in what can be seen');
my $log = slurp_file($node->logfile);
ok($log !~ /sk-(?:wrong|do-not)/, 'no key in the log');

# who has the library
SKIP:
{
	skip 'no /proc here', 2 unless -r "/proc/$$/maps";
	my ($replica) = running_pids($node, 'slow');
	my ($other) = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jflow launcher'");
	like(slurp_file("/proc/$replica/maps"), qr/jflow_http.*libcurl|libcurl.*jflow_http/s, 'who uses it has the library');
	unlike(slurp_file("/proc/$other/maps"), qr/libcurl/, 'nobody else');
}
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
