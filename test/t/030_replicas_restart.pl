# Does a flow that was started run again after a restart of the server, one
# that was stopped not, and can an operator see what runs?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
add_flow($node, 'up', 'whoami', 'replicas => 2');
add_flow($node, 'down', 'whoami');
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'up')}, '55000',
	qr/HINT:.*jflow_start/, 'a post to a flow that was never started');

is(owner_sql($node, q{SELECT jflow_start('up')}), '2', 'jflow_start returns the number of replicas wanted');
is(ask($node, q{SELECT jflow_wait('up')}), 't', 'they run');
start_flow($node, 'down');
owner_sql($node, q{SELECT jflow_stop('down')});
wait_state($node, q{SELECT NOT EXISTS (SELECT FROM jflow_stat_replicas WHERE flow = 'down')}, 'a stopped flow has no replicas');

# what the operator sees
my @pids = running_pids($node, 'up');
is(scalar @pids, 2, 'the view shows two replicas');
is($node->safe_psql('postgres', q{SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity
	WHERE backend_type = 'jflow replica' AND usename = 'flow_owner' AND datname = 'postgres' AND state = 'idle'}),
	join(',', @pids), 'pg_stat_activity shows the same, as the owner');
is($node->safe_psql('postgres', q{SELECT string_agg(application_name, ',' ORDER BY application_name)
	FROM pg_stat_activity WHERE backend_type = 'jflow replica'}),
	'jflow: up/e/0/0,jflow: up/e/0/1', 'with speaking names');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jflow launcher'}), '1', 'and the launcher');
is($node->safe_psql('postgres', q{SELECT executor, wanted, running, last_error FROM jflow_status WHERE flow = 'up'}), 'e|2|2|',
	'jflow_status agrees');
my $pid = ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'up')});
ok((grep { $_ eq $pid } @pids), 'the executor ran in one of them');
is($node->safe_psql('postgres', q{SELECT sum(requests), sum(docs), sum(errors) FROM jflow_stat_replicas WHERE flow = 'up'}),
	'1|1|0', 'which counted it');
is($node->safe_psql('postgres', q{SELECT executor, endpoint, count, errors, mean_ms > 0, p50_ms <= p95_ms, p95_ms <= p99_ms
	FROM jflow_stat_endpoints WHERE flow = 'up'}), 'e|/x|1|0|t|t|t', 'and so did the endpoint');

for my $mode ('fast', 'immediate')
{
	$node->stop($mode);
	$node->start;
	is(ask($node, q{SELECT jflow_wait('up')}), 't', "$mode restart: the started flow runs again");
	is(ask($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'up')}), '1', 'and serves');
	fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'down')}, '55000', qr/HINT:.*jflow_start/, 'the stopped flow');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow_stat_replicas}), '2', 'and has no replicas');
}

# started means committed
$node->safe_psql('postgres', q{BEGIN; SELECT jflow_start('down'); ROLLBACK});
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'down')}, '55000', qr/jflow_start/, 'a start that was rolled back');
fails_with($node, q{BEGIN; SELECT jflow_start('down'); SELECT jflow_wait('down')}, '55000', qr/ERROR/,
	'waiting in the transaction that starts');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
