# Can one role take what all use: request slots, memory, replicas, pools, entries
# of the statistics, the server's log?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'jflow.max_requests = 100', 'jflow.max_replicas = 20', "jflow.memory_limit = '16MB'",
	'max_worker_processes = 32', "log_min_messages = log");
prepare_database($node);
$node->safe_psql('postgres', q{
	CREATE ROLE mallory LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE carol LOGIN;
	GRANT CREATE ON SCHEMA public TO mallory;
	GRANT ALL ON SCHEMA public TO PUBLIC;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC});
my $hang = q{CREATE FUNCTION hang(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql
	AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$};
sub as
{
	my ($role, $sql) = @_;
	return $node->safe_psql('postgres', "SET client_min_messages = error; SET SESSION AUTHORIZATION $role; $sql");
}
as('mallory', qq{$hang; SELECT jflow_create('hog'); SELECT jflow_add('hog', 'e', uses => 'hang', replicas => 1);
	SELECT jflow_create('hog2'); SELECT jflow_add('hog2', 'e', uses => 'hang', replicas => 1);
	SELECT jflow_start('hog'); SELECT jflow_start('hog2')});
add_flow($node, 'svc', 'shout', 'replicas => 2');
start_flow($node, 'svc');
owner_sql($node, q{SELECT jflow_grant('svc', 'bob'); SELECT jflow_grant('svc', 'carol'); SELECT jflow_grant('svc', 'mallory')});
is(ask($node, "SELECT jflow_wait('hog') AND jflow_wait('hog2')"), 't', 'the flows of the greedy role run');

# request slots
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(42)');
my @hogs = map {
	post_in_background($node, "SET SESSION AUTHORIZATION mallory; SET jflow.prefetch = 1000000;
		SELECT count(*) FROM jflow_post('/x', (SELECT array_agg(i::text) FROM generate_series(1, 300) i), '$_', request_size => 1)")
} qw(hog hog hog2 hog2);
wait_state($node, q{SELECT count(*) >= 90 FROM jflow_requests}, 'a role fills the slots');
is(as('bob', q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'svc')}), 'A', 'another has its first at once');
is(as('bob', q{SET jflow.prefetch = 1000000;
	SELECT count(*) FROM jflow_post('/x', (SELECT array_agg(i::text) FROM generate_series(1, 1000) i), 'svc', request_size => 1)}),
	'1000', 'and goes on');
is(as('carol', q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'svc')}), 'A', 'so does a third');
my $two = post_in_background($node, q{SET SESSION AUTHORIZATION bob; SET jflow.prefetch = 1000000;
	SELECT count(*) FROM jflow_post('/x', (SELECT array_agg(i::text) FROM generate_series(1, 20000) i), 'svc', request_size => 1)});
is(as('carol', q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'svc')}), 'A', 'also beside a second that has much to do');
my ($out, $err) = finish_background($two);
like($out, qr/20000/, 'which ends as well');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM jflow_requests'), '<=', 96, 'some slots were never for the first');
$lock->query_safe('SELECT pg_advisory_unlock(42)');
like((finish_background($_))[0], qr/300/, 'its posts end') for @hogs;
is_at_rest($node, 'after the slots');
as('mallory', q{SET jflow.prefetch = 1000000;
	SELECT count(*) FROM jflow_post('/x', (SELECT array_agg(i::text) FROM generate_series(1, 5000) i), 'svc', request_size => 1)});
is_at_rest($node, 'after a post of one role alone');

# memory
$lock->query_safe('SELECT pg_advisory_lock(42)');
@hogs = map {
	post_in_background($node, "SET SESSION AUTHORIZATION mallory; SET jflow.prefetch = 1000000;
		SELECT count(*) FROM jflow_post('/x', (SELECT array_agg(repeat('x', 300000)) FROM generate_series(1, 60) i), '$_', request_size => 1)")
} qw(hog hog2);
wait_state($node, q{SELECT used > 4000000 FROM jflow_memory}, 'a role fills the memory');
wait_state($node, q{SELECT waiting > 0 FROM jflow_memory}, 'until it waits');
is(as('bob', q{SELECT length(text) FROM jflow_post('/x', ARRAY[repeat('a', 1500000)], 'svc')}), '1500000', 'another sends its largest request');
is(as('carol', q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'svc')}), 'A', 'a third a small one');
$lock->query_safe('SELECT pg_advisory_unlock(42)');
like((finish_background($_))[0], qr/60/, 'its posts end') for @hogs;
is_at_rest($node, 'after the memory');

# entries of the statistics
as('mallory', qq{SELECT jflow_post('/' || i || '/' || repeat('x', 70), '{}'::text[], 'svc') FROM generate_series(1, 300) i});
as('mallory', qq{SELECT jflow_create('m' || i), jflow_add('m' || i, 'e') FROM generate_series(1, 3) i});
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM jflow_stat_endpoints WHERE flow = 'svc'}), '<=', 16,
	'endpoints that are made up share an entry');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow_stat_endpoints WHERE flow = 'svc' AND endpoint = '(others)' AND count > 200}), '1',
	'in which they are counted');

# replicas and pools
as('mallory', q{SELECT jflow_scale('hog', 'e', replicas => 1000)});
wait_state($node, q{SELECT last_error LIKE '%other roles%' FROM jflow_status WHERE flow = 'hog'}, 'a role wants all replicas, and is told why not');
cmp_ok(scalar(running_pids($node)), '<=', 19, 'the last are kept');
as('carol', q{SELECT jflow_create('late'); SELECT jflow_add('late', 'e', uses => 'public.noop')});
as('carol', q{SELECT jflow_start('late')});
is(ask($node, q{SELECT jflow_wait('late')}), 't', 'for one that comes later');
as('carol', q{SELECT jflow_drop('late')});
as('mallory', q{SELECT jflow_scale('hog', 'e', replicas => 1)});
is(ask($node, q{SELECT jflow_wait('hog')}), 't', 'fewer again');
$node->append_conf('postgresql.conf', 'jflow.max_replicas_per_role = 3');
$node->reload;
as('mallory', q{SELECT jflow_scale('hog', 'e', replicas => 7)});
wait_state($node, q{SELECT last_error LIKE '%max\_replicas\_per\_role%' AND running = 2 FROM jflow_status WHERE flow = 'hog'}, 'a limit of replicas by role holds');
as('mallory', q{SELECT jflow_scale('hog', 'e', replicas => 1)});

my $logged = -s $node->logfile;
as('mallory', q{SELECT jflow_create('wide');
	DO $$ BEGIN FOR i IN 1..30 LOOP PERFORM jflow_add('wide', 'e' || i, replicas => 1, shards => 1024, needs => '{gateway}'); END LOOP; END $$});
as('mallory', q{SELECT jflow_start('wide')});
is(as('bob', q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'svc')}), 'A', 'beside a flow of 30,720 shards another serves');
as('carol', q{SELECT jflow_create('late'); SELECT jflow_add('late', 'e', uses => 'public.noop')});
as('carol', q{SELECT jflow_start('late')});
is(ask($node, q{SELECT jflow_wait('late')}), 't', 'and a new one starts');
my $log = slurp_file($node->logfile, $logged);
my $lines = () = $log =~ /has no room for all executors and shards/g;
cmp_ok($lines, '>=', 1, 'that there is no room is logged');
cmp_ok($lines, '<=', 10, 'once for each look');
as('mallory', q{SELECT jflow_drop('wide'); SELECT jflow_drop('hog'); SELECT jflow_drop('hog2')});

# the launcher keeps its memory
sub launcher_memory
{
	my $offset = -s $node->logfile;
	my $pid = worker_pid($node, 'jflow launcher');
	$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($pid)");
	$node->wait_for_log(qr/Grand total/, $offset);
	my ($used) = slurp_file($node->logfile, $offset) =~ /level: 0; TopMemoryContext: .*; (\d+) used/;
	return $used;
}
my $churn = q{DO $$ BEGIN FOR i IN 1..40 LOOP PERFORM jflow_create('t'); COMMIT; PERFORM jflow_drop('t'); COMMIT; END LOOP; END $$};
as('carol', $churn);
is(ask($node, q{SELECT jflow_wait('late')}), 't', 'scouts have looked');
my $before = launcher_memory();
for my $round (1 .. 20)
{
	as('carol', q{SELECT jflow_create('t')});
	as('carol', q{SELECT jflow_drop('t'); SELECT jflow_wait('late')});
	is(ask($node, q{SELECT jflow_wait('late')}), 't', 'a scout more') if $round == 20;
}
cmp_ok(launcher_memory() - $before, '<', 1024, 'scouts cost the launcher no memory that stays');
$lock->quit;
$node->stop;
done_testing();
