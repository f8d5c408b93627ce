# After random posts, errors, cancels, kills and scales: is nothing lost, done
# twice, leaked or stuck?  JFLOW_SOAK_SECONDS and JFLOW_SOAK_SEED choose how long
# and which.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{JFLOW_SOAK_SECONDS} || 30;
my $seed = $ENV{JFLOW_SOAK_SEED} || 1;
my $nclients = 6;
srand($seed);
note("seed $seed, $seconds seconds");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'jflow'
jflow.allow_superuser_flows = on
jflow.memory_limit = 16MB
jflow.max_requests = 64
max_worker_processes = 40
client_connection_check_interval = 500ms
log_min_messages = log
log_statement = none
});
$node->start;
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE TABLE written (id text);
	CREATE TABLE reported (id text);
	CREATE FUNCTION work(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
	BEGIN
		IF parameters ? 'sleep' THEN PERFORM pg_sleep((parameters->>'sleep')::float8); END IF;
		IF (jflow_context()).executor = 'write' THEN INSERT INTO written SELECT id FROM unnest(docs); END IF;
		IF random() < (parameters->>'fail')::float8 THEN RAISE EXCEPTION 'by chance'; END IF;
		IF parameters ? 'big' THEN docs[1].text := repeat('x', (parameters->>'big')::int); RETURN docs; END IF;
		RETURN NULL;
	END $$;
	SELECT jflow_create('soak');
	SELECT jflow_add('soak', 'first', uses => 'work', replicas => 2, retries => 3);
	SELECT jflow_add('soak', 'write', uses => 'work', replicas => 2, retries => 3);
	SELECT jflow_create('graph');
	SELECT jflow_add('graph', 'l', uses => 'work', needs => '{gateway}', retries => 3);
	SELECT jflow_add('graph', 'r', uses => 'work', needs => '{gateway}', shards => 2, polling => '"all"', retries => 3);
	SELECT jflow_add('graph', 'write', uses => 'work', needs => '{l,r}', retries => 3);
	SELECT jflow_start('soak'), jflow_start('graph');
});
$node->safe_psql('postgres', q{SELECT jflow_wait('soak') AND jflow_wait('graph')});

sub pick { return $_[int(rand(@_))]; }

# one client's statements: more than it can run in the time
sub statements
{
	my ($client) = @_;
	my $sql = '';
	for my $i (1 .. 200 * $seconds)
	{
		my $docs = pick(0, 1, 1, 5, 40);
		my $parameters = pick('{}', '{}', '{}', '{"fail": 0.1}', '{"sleep": 0.01}', '{"big": 200000}');
		my $post = sprintf(q{SELECT id FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => '%d-%d-' || g, text => repeat('y', %d))) FROM generate_series(1, %d) g), '%s', request_size => %d, parameters => '%s'%s)},
			$client, $i, pick(1, 10, 20000), $docs, pick('soak', 'soak', 'graph'), pick(1, 3, 100), $parameters,
			pick('', '', '', q{, timeout => '20ms'}, ', continue_on_error => true', ', ordered => false'));
		$sql .= "SET statement_timeout = 15;\n" if rand() < 0.05;
		my $kind = rand();
		if ($kind < 0.8) { $sql .= "INSERT INTO reported $post;\n"; }
		elsif ($kind < 0.9) { $sql .= "BEGIN; SAVEPOINT s; INSERT INTO reported $post; ROLLBACK TO s; COMMIT;\n"; }
		else { $sql .= "BEGIN; SAVEPOINT s; INSERT INTO reported $post; RELEASE s; COMMIT;\n"; }
		$sql .= "RESET statement_timeout;\n";
	}
	return $sql;
}
my @clients;
for my $client (1 .. $nclients)
{
	my $file = $node->basedir . "/client$client.sql";
	append_to_file($file, statements($client));
	push @clients, IPC::Run::start(['psql', '-X', '-q', '-d', $node->connstr('postgres'), '-f', $file],
		'<', '/dev/null', '>', $node->basedir . "/client$client.out", '2>&1');
}

my %did;
my $end = time() + $seconds;
while (time() < $end)
{
	my ($name, $sql) = @{ pick(
		['terminate a replica', q{SELECT pg_terminate_backend(pid) FROM jflow_stat_replicas WHERE pid IS NOT NULL ORDER BY random() LIMIT 1}],
		['cancel a replica', q{SELECT pg_cancel_backend(pid) FROM jflow_stat_replicas WHERE state = 'busy' ORDER BY random() LIMIT 1}],
		['cancel a gateway', q{SELECT pg_cancel_backend(pid) FROM jflow_progress ORDER BY random() LIMIT 1}],
		['cancel a post', q{SELECT jflow_cancel(post) FROM jflow_progress ORDER BY random() LIMIT 1}],
		['scale', sprintf(q{SELECT jflow_scale('soak', '%s', %d)}, pick('first', 'write'), pick(1, 2, 3))],
		['restart', q{SELECT jflow_restart('soak', 'write')}],
		['terminate the launcher', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jflow launcher' AND random() < 0.2}],
		['terminate a gateway', q{SELECT pg_terminate_backend(pid) FROM jflow_progress WHERE random() < 0.02 LIMIT 1}],
		['stop and start', q{SELECT jflow_stop('graph'); SELECT jflow_start('graph')}]) };
	$node->psql('postgres', "$sql; SELECT pg_sleep(0.05)");
	$did{$name}++;
}
note(join(', ', map { "$_: $did{$_}" } sort keys %did));
$_->kill_kill(grace => 0) for @clients;

ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM jflow_progress}), 'all gateways are gone');
ok($node->poll_query_until('postgres', q{SELECT used = 0 AND requests = 0 AND waiting = 0 FROM jflow_memory}), 'payload memory and slots are free')
  or diag($node->safe_psql('postgres', 'SELECT * FROM jflow_memory') . "\n" . $node->safe_psql('postgres', 'SELECT * FROM jflow.requests()'));
is($node->safe_psql('postgres', q{SELECT jflow_wait('soak', '60s') AND jflow_wait('graph', '60s')}), 't', 'the wanted replicas run')
  or diag($node->safe_psql('postgres', 'SELECT * FROM jflow_status; SELECT * FROM jflow_stat_replicas'));
ok($node->poll_query_until('postgres', q{SELECT bool_and(state = 'idle') FROM jflow_stat_replicas}), 'none is stuck');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT id FROM written GROUP BY id HAVING count(*) > 1) d}), '0', 'nothing was done twice');
is($node->safe_psql('postgres', q{SELECT count(*) FROM reported r WHERE NOT EXISTS (SELECT FROM written w WHERE w.id = r.id)}), '0', 'nothing was lost');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM reported}), '>', 100, 'and there was something to lose');
note($node->safe_psql('postgres', q{SELECT (SELECT count(*) FROM reported) || ' reported, ' || (SELECT count(*) FROM written) || ' written'}));
is($node->safe_psql('postgres', q{SELECT text FROM jflow_post('/x', ARRAY['end'], 'soak')}), 'end', 'and replicas serve');
$node->stop;
done_testing();
