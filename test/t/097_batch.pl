# Are requests of several posts run as one call where that is allowed and nowhere
# else, and does whatever happens to one of them leave the others alone?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use JflowService;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'max_worker_processes = 32', 'max_connections = 60');
prepare_database($node);
$node->safe_psql('postgres', 'CREATE ROLE guest LOGIN; CREATE ROLE other_owner LOGIN; GRANT CREATE ON SCHEMA public TO other_owner');

# Answers how many documents it was called with, and by whom.  A text "wait2" waits
# while somebody holds lock 2; "bad" fails; "fatal" ends the process.
my $together = q{
	CREATE FUNCTION %s(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$
	DECLARE waits text;
	BEGIN
		IF parameters ? 'store' THEN
			INSERT INTO public.written SELECT d.text FROM unnest(docs) d;
		END IF;
		FOR waits IN SELECT substr(d.text, 5) FROM unnest(docs) d WHERE d.text LIKE 'wait%%' ORDER BY 1 LOOP
			PERFORM pg_advisory_xact_lock_shared(waits::int8);
		END LOOP;
		IF EXISTS (SELECT FROM unnest(docs) d WHERE d.text = 'bad') THEN
			RAISE EXCEPTION 'bad: %%', (SELECT string_agg(d.text, ' ') FROM unnest(docs) d) USING ERRCODE = '22012';
		END IF;
		IF EXISTS (SELECT FROM unnest(docs) d WHERE d.text = 'fatal') THEN
			PERFORM pg_terminate_backend(pg_backend_pid());
		END IF;
		RAISE NOTICE 'called with %%', cardinality(docs);
		FOR i IN 1..cardinality(docs) LOOP
			docs[i].text := cardinality(docs) || ' ' || docs[i].text || ' ' || current_user;
		END LOOP;
		RETURN docs;
	END $$};
owner_sql($node, sprintf($together, 'together') . q{;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'e', batch => '{"size": 8}', retries => 1, requests => '{"/x": "together", "/y": "together", "/fit": "together"}');
	SELECT jflow_create('once');
	SELECT jflow_add('once', 'e', uses => 'together', batch => '{"size": 8}', retries => 0);
	SELECT jflow_create('slow');
	SELECT jflow_add('slow', 'e', uses => 'together', batch => '{"size": 3, "wait": "1 minute"}', replicas => 2);
	SELECT jflow_grant('f', 'guest')});
start_flow($node, $_) for qw(f once slow);

my %holders;

sub hold
{
	my ($lock) = @_;
	$holders{$lock} = $node->background_psql('postgres');
	$holders{$lock}->query_safe("SELECT pg_advisory_lock($lock)");
	return;
}

sub release
{
	my ($lock) = @_;
	$holders{$lock}->quit;
	delete $holders{$lock};
	return;
}

sub wait_requests
{
	my ($state, $n, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_state($node, "SELECT count(DISTINCT post) = $n FROM jflow_requests WHERE state = '$state'", $name);
}

# Statements that post while the replica of a flow is busy; they are queued in this
# order when this returns.  finish() with them ends the wait.
sub queue_posts
{
	my ($flow, @posts) = @_;
	my @sessions;
	hold(1);
	push @sessions, post_in_background($node, "SELECT text FROM jflow_post('/x', ARRAY['wait1'], '$flow')");
	wait_requests('running', 1, 'the replica is busy');
	for my $post (@posts)
	{
		push @sessions, post_in_background($node, $post);
		wait_requests('queued', scalar @sessions - 1, 'a request waits');
	}
	return @sessions;
}

# What each of them answered, or its error; the first is the one that kept the
# replica busy.
sub finish
{
	my (@sessions) = @_;
	my @answers;
	for my $session (@sessions)
	{
		my ($out, $err) = eval { finish_background($session) };
		($out, $err) = ('', '') unless defined $out; # whose session was ended
		push @answers, $err =~ /ERROR:\s+(\w{5}: .*)/ ? $1 : $out . ($err =~ /(NOTICE|WARNING):\s+(?:\w{5}: )?(.*)/ ? " [$2]" : '');
	}
	shift @answers;
	return @answers;
}

sub x
{
	my ($text, $more, $flow, $endpoint) = @_;
	$more = defined $more ? ", $more" : '';
	$flow = 'f' unless defined $flow;
	$endpoint = '/x' unless defined $endpoint;
	return "SELECT text FROM jflow_post('$endpoint', ARRAY['$text'], '$flow'$more)";
}

# a batch is formed while the replica is busy; notices are nobody's
my @posts = queue_posts('f', x('a'), "SET ROLE guest; " . x('b'), x('c'));
release(1);
is_deeply([ finish(@posts) ], [ map { "3 $_ flow_owner" } qw(a b c) ], 'posts of several roles run as one call');

# what must not be together
@posts = queue_posts('f', x('a'), x('b', q(parameters => '{"p": 1}')), "BEGIN READ ONLY; " . x('c'), x('d', undef, 'f', '/y'),
	x('e'), x('g', undef, 'f', '/fit'), x('h', undef, 'f', '/fit'), q{SELECT count(*) FROM jflow_post('/x', '{}'::jflow_doc[], 'f')});
release(1);
is_deeply([ map { s/ \[.*//r } finish(@posts) ],
	[ '2 a flow_owner', '1 b flow_owner', '1 c flow_owner', '1 d flow_owner', '2 e flow_owner', '1 g flow_owner', '1 h flow_owner', '0' ],
	'other parameters, endpoints, read-only transactions, /fit and empty requests run alone');
my $same = q{SELECT text FROM jflow_post('/x', '[{"id": "same", "text": "%s"}]'::jsonb, 'f')};
@posts = queue_posts('f', sprintf($same, 'a'), sprintf($same, 'b'), x('c'));
release(1);
is_deeply([ map { s/ \[.*//r } finish(@posts) ], [ '2 a flow_owner', '1 b flow_owner', '2 c flow_owner' ], 'no id is there twice');
@posts = queue_posts('f', map { "SELECT count(*) || ' ' || min(split_part(text, ' ', 1)) FROM jflow_post('/x', array_fill('$_'::text, ARRAY[5]), 'f')" } qw(a b));
release(1);
is_deeply([ map { s/ \[.*//r } finish(@posts) ], [ '5 5', '5 5' ], 'a call has no more documents than the size');
@posts = queue_posts('f', "SELECT string_agg(text, ',') FROM jflow_post('/x', ARRAY['a','b','c'], 'f', request_size => 1)", x('d'));
release(1);
is_deeply([ finish(@posts) ], [ '4 a flow_owner,4 b flow_owner,4 c flow_owner', '4 d flow_owner' ],
	'requests of one post may be together, too, and come back in order');

# jflow_explain tells who may know it of its own documents alone
@posts = queue_posts('f', x('a'), "SET ROLE flow_owner; SELECT docs_in FROM jflow_explain('/x', '[{\"text\": \"b\"}]', 'f')", x('c'));
release(1);
is_deeply([ map { s, \[.*,,r } finish(@posts) ], [ '2 a flow_owner', '1', '2 c flow_owner' ], 'a post that asks for plans runs alone');

# one at fault: all run again, each by itself
@posts = queue_posts('f', x('a'), x('bad'), x('c'));
release(1);
is_deeply([ map { s/ \[.*//r } finish(@posts) ], [ '1 a flow_owner', '22012: bad: bad', '1 c flow_owner' ],
	'a document at fault fails its own request, with an error that tells of no other');
like($node->safe_psql('postgres', q{SELECT batches_failed FROM jflow_stat_endpoints WHERE flow = 'f' AND endpoint = '/x'}), qr/^2$/,
	'the call and the request at fault are counted as failed');
is($node->safe_psql('postgres', q{SELECT errors FROM jflow_stat_endpoints WHERE flow = 'f' AND endpoint = '/x'}), '1',
	'and one request is an error');

# one is cancelled, or out of time, while the call runs
for my $how ('cancel', 'timeout', 'disconnect')
{
	for my $store (0, 1)
	{
		my $parameters = $store ? q(parameters => '{"store": true}') : q(parameters => '{}');
		my $name = "$how, " . ($store ? 'written' : 'read');
		$node->safe_psql('postgres', 'TRUNCATE written');
		hold(2);
		@posts = queue_posts('f', x('wait2', $parameters), x("gone", $parameters . ($how eq 'timeout' ? q(, timeout => '2s') : '')),
			x('c', $parameters));
		if ($how eq 'timeout')
		{
			# it may be out of time while it waits
			release(1);
			wait_state($node, q{SELECT NOT EXISTS (SELECT FROM jflow_progress WHERE pid = } . $posts[2]->{pid} . ')', "$name: it is over");
		}
		else
		{
			release(1);
			wait_requests('running', 3, "$name: a call of three runs");
			$node->safe_psql('postgres', ($how eq 'cancel' ? 'SELECT pg_cancel_backend(' : 'SELECT pg_terminate_backend(') . "$posts[2]->{pid})");
			wait_state($node, q{SELECT NOT EXISTS (SELECT FROM jflow_progress WHERE pid = } . $posts[2]->{pid} . ')', "$name: it is over");
		}
		is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow_progress}), '2', "$name: the others wait");
		release(2);
		my @answers = map { s/ \[.*//r } finish(@posts);
		like($answers[$_], qr/^[123] (wait2|c) flow_owner$/, "$name: the others are answered") for (0, 2);
		like($answers[1], qr/^57014/, "$name: it got its error") if $how ne 'disconnect';
		is($node->safe_psql('postgres', q{SELECT string_agg(text, ' ' ORDER BY text) FROM written WHERE text <> 'wait1'}), 'c wait2',
			"$name: what was given up has left nothing, what was not is there once") if $store;
		is_at_rest($node, $name);
	}
}

# all are cancelled, or an administrator cancels the replica
hold(2);
@posts = queue_posts('f', x('wait2'), x('b'));
release(1);
wait_requests('running', 2, 'a call of two runs');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($_->{pid})") for @posts[ 1, 2 ];
is_at_rest($node, 'both cancelled, the replica waits no more');
is_deeply([ map { s/:.*//r } finish(@posts) ], [ '57014', '57014' ], 'both have their errors');
@posts = queue_posts('f', x('wait2'), x('b'));
release(1);
wait_requests('running', 2, 'a call of two runs');
my ($pid) = running_pids($node, 'f');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
is_deeply([ map { s/:.*//r } finish(@posts) ], [ '57014', '57014' ], 'a replica that is cancelled fails both');

# the replica is terminated: each request by its own rules
for my $case ([ 'f', '1 wait2 flow_owner', '1 b flow_owner' ], [ 'once', '57P01: a replica', '57P01: a replica' ])
{
	my ($flow, @expected) = @$case;
	@posts = queue_posts($flow, x('wait2', undef, $flow), x('b', undef, $flow));
	release(1);
	wait_requests('running', 2, "$flow: a call of two runs");
	($pid) = running_pids($node, $flow);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_state($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)", "$flow: its replica is gone");
	release(2);
	is_deeply([ map { s/ of executor.*| \[.*//r } map { s/57000/57P01/r } finish(@posts) ], \@expected, "$flow: each by its own rules");
	hold(2);
}
release(2);
@posts = queue_posts('f', x('a'), x('fatal'), x('c'));
release(1);
my @answers = map { s/ \[.*//r } finish(@posts);
is_deeply([ @answers[ 0, 2 ] ], [ '1 a flow_owner', '1 c flow_owner' ], 'who kills a replica is not run together with others again');
like($answers[1], qr/^57/, 'and fails');
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'the pool recovers');

# a call of several must not make a deadlock of what is none
my $owner = $node->background_psql('postgres', on_error_stop => 0);
$owner->query_safe('SELECT pg_advisory_lock(2)');
hold(1);
my @first = (post_in_background($node, x('wait1')));
wait_requests('running', 1, 'the replica is busy');
my $waits = post_in_background($node, x('wait2'));
wait_requests('queued', 1, 'a request waits');
$owner->query_until(qr/go/, "\\echo go\n" . x('mine') . ";\n");
wait_requests('queued', 2, 'and one whose session holds what the other wants');
owner_sql($node, q{SELECT jflow_scale('f', 'e', 2)});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'a second replica may take one of them');
release(1);
my $mine = $owner->query('');
like($mine, qr/^1 mine flow_owner/m, 'it is run alone, and answered');
$owner->{stderr} = '';
$owner->query('SELECT pg_advisory_unlock_all()');
$owner->quit;
is_deeply([ map { s/ \[.*//r } finish(@first, $waits) ], ['1 wait2 flow_owner'], 'so is the other');
owner_sql($node, q{SELECT jflow_scale('f', 'e', 1)});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'one replica again');
is_at_rest($node, 'no deadlock');

# requests wait for others while there is room, all that waits can be together, and
# none has waited long enough
@posts = ($waits);
for my $text (qw(a b))
{
	push @posts, post_in_background($node, x($text, undef, 'slow'));
	wait_requests('queued', @posts - 1, "$text waits for others though replicas are idle");
}
push @posts, post_in_background($node, x('c', undef, 'slow'));
is_deeply([ finish(@posts) ], [ map { "3 $_ flow_owner" } qw(a b c) ], 'a full call waits no longer');
my $first = post_in_background($node, x('a', undef, 'slow'));
wait_requests('queued', 1, 'a request waits for others');
my $parameters = q(parameters => '{"p": 1}');
@posts = ($waits, post_in_background($node, x('b', $parameters, 'slow')));
is((finish($waits, $first))[0], '1 a flow_owner [called with 1]', 'what cannot join it makes it go');
wait_requests('queued', 1, 'and waits for its own kind');
push @posts, map { post_in_background($node, x($_, $parameters, 'slow')) } qw(c d);
is_deeply([ finish(@posts) ], [ map { "3 $_ flow_owner" } qw(b c d) ], 'which comes');

# replicas that come, go, and are replaced, and flows that are stopped or dropped
for my $how (q{jflow_restart('f', 'e')}, q{jflow_scale('f', 'e', 3)})
{
	hold(2);
	@posts = queue_posts('f', x('wait2'), x('b'), x('c'));
	release(1);
	wait_state($node, q{SELECT count(*) >= 3 FROM jflow_requests WHERE state = 'running'}, "$how: a call runs");
	owner_sql($node, "SELECT $how");
	release(2);
	is(scalar(grep { /^[123] (wait2|b|c) flow_owner/ } finish(@posts)), 3, "$how: all are answered");
	is(ask($node, q{SELECT jflow_wait('f')}), 't', "$how: the flow comes to what is wanted");
	is_at_rest($node, $how);
	owner_sql($node, q{SELECT jflow_scale('f', 'e', 1)});
	is(ask($node, q{SELECT jflow_wait('f')}), 't', 'one replica again');
}
for my $how (q{jflow_stop('once')}, q{jflow_drop('once')})
{
	hold(2);
	@posts = queue_posts('once', x('wait2', undef, 'once'), x('bad', undef, 'once'));
	release(1);
	wait_requests('running', 2, "$how: a call runs");
	push @posts, post_in_background($node, x('c', undef, 'once'));
	wait_requests('queued', 1, "$how: another waits");
	owner_sql($node, "SELECT $how");
	release(2);
	@answers = finish(@posts);
	like($answers[$_], qr/^55000|^42704|^1 wait2|^1 c |^22012: bad: bad/, "$how: an answer, or why there is none") for (0 .. 2);
	is_at_rest($node, $how);
	next if $how =~ /drop/;
	start_flow($node, 'once');
}

# flows of other owners have pools of their own, and rights of their own
$node->safe_psql('postgres', 'SET ROLE other_owner; ' . sprintf($together, 'together_other') . q{;
	SELECT jflow_create('theirs');
	SELECT jflow_add('theirs', 'e', uses => 'together_other', batch => '{"size": 8, "wait": "1 minute"}');
	SELECT jflow_start('theirs')});
owner_sql($node, q{
	SELECT jflow_create('ours');
	SELECT jflow_add('ours', 'e', uses => 'together', batch => '{"size": 2, "wait": "1 minute"}');
	SELECT jflow_start('ours')});
is(ask($node, qq{SELECT jflow_wait('$_')}), 't', "$_ runs") for qw(ours theirs);
@posts = ($waits, post_in_background($node, x('a', undef, 'theirs')), post_in_background($node, x('b', undef, 'ours')));
wait_requests('queued', 2, 'one each waits for others');
push @posts, post_in_background($node, x('c', undef, 'ours'));
is_deeply([ finish($waits, @posts[ 2, 3 ]) ], [ '2 b flow_owner', '2 c flow_owner' ], 'a call is of one flow');
push @posts, map { post_in_background($node, x("d$_", undef, 'theirs')) } (1 .. 7);
is_deeply([ finish($waits, @posts[ 1, 4 .. 10 ]) ], [ map { "8 $_ other_owner" } 'a', map { "d$_" } (1 .. 7) ], 'and of one owner');

# texts of several posts go to a service in one call, and a refused one fails its own
start_service();
add_server($node, 'svc', 'openai?name=batch&dim=4&bad=poison');
owner_sql($node, q{
	SELECT jflow_create('http');
	SELECT jflow_add('http', 'e', uses => 'HttpExecutor', uses_with => '{"server": "svc", "model": "m"}', batch => '{"size": 4, "wait": "1 minute"}')});
start_flow($node, 'http');
my $embed = q{SELECT vector_dims(embedding) FROM jflow_post('/x', ARRAY['%s'], 'http')};
@posts = map { post_in_background($node, sprintf($embed, $_)) } qw(a b c d);
is_deeply([ finish($waits, @posts) ], [ 4, 4, 4, 4 ], 'each post has its embedding');
is(join(' ', @{ service_stats('batch') }{qw(calls texts)}), '1 4', 'of one call of the service');
@posts = map { post_in_background($node, sprintf($embed, $_)) } qw(e f poison g);
@answers = finish($waits, @posts);
is_deeply([ @answers[ 0, 1, 3 ] ], [ 4, 4, 4 ], 'so it has beside one that is refused');
like($answers[2], qr/^\w{5}: /, 'which fails');

# are the answers of random posts the same with and without?
owner_sql($node, q{
	CREATE FUNCTION digest(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1..cardinality(docs) LOOP
			IF docs[i].text LIKE '%7' AND parameters ? 'strict' THEN
				RAISE EXCEPTION 'seven: %', docs[i].text USING ERRCODE = '22023';
			END IF;
			docs[i].text := md5(docs[i].text || parameters);
			docs[i].tags := jsonb_build_object('of', docs[i].id);
		END LOOP;
		RETURN docs;
	END $$;
	SELECT jflow_create('with');
	SELECT jflow_add('with', 'e', uses => 'digest', batch => '{"size": 16, "wait": "2ms"}', replicas => 2);
	SELECT jflow_add('with', 'terms', uses => 'digest', batch => '{"size": 5}', replicas => 2);
	SELECT jflow_create('without');
	SELECT jflow_add('without', 'e', uses => 'digest', replicas => 0);
	SELECT jflow_add('without', 'terms', uses => 'digest', replicas => 0)});
start_flow($node, 'with');
$node->safe_psql('postgres', q{
	CREATE FUNCTION answer(flow text, docs jsonb, parameters jsonb, size int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RETURN (SELECT string_agg(concat_ws('/', d.id, d.text, d.tags), ',' ORDER BY d.id) FROM jflow_post('/x', docs, flow, parameters, request_size => size) d);
	EXCEPTION WHEN invalid_parameter_value THEN
		RETURN SQLSTATE; -- of several at fault one is told of
	END $$});
my $post = q{\set n random(1, 9)
\set from random(1, 40)
\set p random(0, 3)
\set size random(1, 4)
WITH q AS (SELECT (SELECT jsonb_agg(jsonb_build_object('id', i::text, 'text', 't' || i)) FROM generate_series(:from, :from + :n) i) AS docs,
	(ARRAY['{}', '{"a": 1}', '{"strict": 1}', '{"a": 2}'])[1 + :p]::jsonb AS parameters)
SELECT 1 / (answer('with', docs, parameters, :size) = answer('without', docs, parameters, 100))::int FROM q;};
$node->pgbench('--no-vacuum --client=12 --transactions=40', 0, [qr{processed: 480/480}], [qr{^$}], 'the same answers with a batch and without', 
	{ '097_answers@20' => $post, '097_scale@1' => q{SELECT jflow_scale('with', 'e', 1 + (random() * 2)::int);} });
cmp_ok($node->safe_psql('postgres', q{SELECT round(batch_docs) FROM jflow_status WHERE flow = 'with' AND executor = 'e'}), '>', 2, 'some were together');
is_at_rest($node, 'random posts');

# a dump has it
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'the database is dumped');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('copy') ], 'and restored');
is(owner_sql($node, q{SELECT jflow_save('slow')}, 'copy'), owner_sql($node, q{SELECT jflow_save('slow')}), 'with batches');
done_testing();
