# With no, one, or too few worker slots: is the reason shown, do posts fail at
# once instead of hanging, and does what can run, run?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'max_parallel_workers = 0', 'max_logical_replication_workers = 0');
prepare_database($node);
add_flow($node, 'f', 'shout', 'replicas => 3');
start_flow($node, 'f');

# too few: the launcher takes one, and a scout needs one for a moment
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->restart;
wait_state($node, q{SELECT running = 2 AND wanted = 3 AND last_error LIKE '%max\_worker\_processes%' FROM jflow_status WHERE flow = 'f'},
	'too few slots: some run, and the reason names the setting');
is(ask($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'f')}), '1', 'those serve');
my ($ret, $out, $err) = $node->psql('postgres', q{SELECT jflow_wait('f', timeout => '100 ms')});
is($out, 'f', 'jflow_wait says that they are not all there');
like($err, qr/WARNING.*DETAIL:  2 run, 3 are wanted: .*max_worker_processes/s, 'and why');
like(ask($node, 'SELECT string_agg(c::text, chr(10)) FROM jflow_config() c'), qr/max_worker_processes|slots/, 'jflow_config() tells of slots');

# one: taken by the launcher, or by another worker
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'f')}, '55000', qr/max_worker_processes/,
	'one slot: a post');
like($node->safe_psql('postgres', q{SELECT wanted, running, last_error FROM jflow_status WHERE flow = 'f'}),
	qr/^3\|0\|.*max_worker_processes/, 'one slot: the status');

# taken by another worker before the launcher could have it
$node->append_conf('postgresql.conf', 'max_logical_replication_workers = 1');
$node->restart;
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'jflow%'}), '0', 'no launcher');
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'f')}, '55000', qr/max_worker_processes/, 'no launcher: a post');
like($node->safe_psql('postgres', q{SELECT wanted, running, last_error FROM jflow_status WHERE flow = 'f'}),
	qr/^3\|0\|.*launcher.*max_worker_processes/, 'no launcher: the status');
$node->append_conf('postgresql.conf', 'max_logical_replication_workers = 0');

# none: not even the launcher
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'f')}, '55000', qr/max_worker_processes|launcher/, 'no slot: a post');
like($node->safe_psql('postgres', q{SELECT wanted, running, last_error FROM jflow_status WHERE flow = 'f'}),
	qr/^3\|0\|.*max_worker_processes/, 'no slot: the status');
is(ask($node, q{SELECT jflow_wait('f', timeout => '100 ms')}), 'f', 'no slot: jflow_wait returns');
like(ask($node, 'SELECT string_agg(c::text, chr(10)) FROM jflow_config() c'), qr/max_worker_processes|launcher|slots/, 'no slot: jflow_config()');

# jflow's own limit
$node->append_conf('postgresql.conf', "max_worker_processes = 24\njflow.max_replicas = 2");
$node->restart;
wait_state($node, q{SELECT running <= 2 AND wanted = 3 AND last_error LIKE '%jflow.max\_replicas%' FROM jflow_status WHERE flow = 'f'},
	'too small jflow.max_replicas: the reason names it');

# at that limit a flow that is stopped and started again gets what the old one leaves
owner_sql($node, q{SELECT jflow_stop('f'); SELECT jflow_create('g'); SELECT jflow_add('g', 'e', uses => 'shout', shards => 2)});
start_flow($node, 'g');
for my $round (1 .. 3)
{
	owner_sql($node, q{SELECT jflow_stop('g')});
	owner_sql($node, q{SELECT jflow_start('g')});
	is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'g')}), 'A', "round $round: a post waits for its replicas");
	is(ask($node, q{SELECT jflow_wait('g', timeout => '4s')}), 't', "round $round: they run");
}
owner_sql($node, q{SELECT jflow_stop('g'); SELECT jflow_start('f')});

# and when there is room, everything runs by itself
$node->append_conf('postgresql.conf', 'jflow.max_replicas = 16');
$node->restart;
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'with enough slots all run');
is($node->safe_psql('postgres', q{SELECT wanted, running, last_error FROM jflow_status WHERE flow = 'f'}), '3|3|', 'and no reason is left');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
