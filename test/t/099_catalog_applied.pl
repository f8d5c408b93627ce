# Do backends and replicas see definitions that logical replication brings, or a session that fires no ordinary triggers?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $from = new_node('from', 'wal_level = logical');
my $to = new_node('to');
for my $node ($from, $to)
{
	prepare_database($node);
	$node->safe_psql('postgres', 'CREATE ROLE stranger');
}
my $always = q{SELECT tgrelid::regclass || ' ' || tgname FROM pg_trigger
	WHERE tgrelid::regclass::text LIKE 'jflow.%' AND NOT tgisinternal AND tgenabled <> 'A'};
is($to->safe_psql('postgres', $always), '', 'all triggers of the catalog fire always');
is($to->safe_psql('postgres', q{SELECT count(*) > 10 FROM pg_trigger WHERE tgenabled = 'A'}), 't', 'and there are some');

$from->safe_psql('postgres', q{CREATE PUBLICATION p FOR TABLE jflow.flow, jflow.executor, jflow.class, jflow.flow_grant});
$to->safe_psql('postgres', sprintf(q{CREATE SUBSCRIPTION s CONNECTION $$%s$$ PUBLICATION p WITH (copy_data = false)},
	$from->connstr('postgres')));
add_flow($from, 'f', 'shout', 'replicas => 0');
add_flow($from, 'r', 'whoami', 'replicas => 1');

sub applied
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$from->wait_for_catchup('s');
	pass($name);
	return;
}

# what a session has seen once it sees again when it has changed
my $post = q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')};
applied('two flows have come');
my $session = $to->background_psql('postgres', on_error_stop => 0);
$session->query_safe('SET ROLE flow_owner');
is($session->query_safe($post), 'A', 'a flow that has come runs');
owner_sql($from, q{SELECT jflow_add('f', 'second', uses => 'counted', replicas => 0)});
applied('an executor is added');
is($session->query_safe($post), '0', 'a session runs it');
owner_sql($from, q{SELECT jflow_remove('f', 'second')});
applied('an executor is removed');
is($session->query_safe($post), 'A', 'a session runs it no more');
owner_sql($from, q{SELECT jflow_grant('f', 'stranger')});
applied('a grant is given');
my $stranger = $to->background_psql('postgres', on_error_stop => 0);
$stranger->query_safe('SET ROLE stranger');
is($stranger->query_safe($post), 'A', 'a role that it is for may post');
owner_sql($from, q{SELECT jflow_revoke('f', 'stranger')});
applied('a grant is taken back');
my ($out, $failed) = $stranger->query($post);
ok($failed, 'it may post no more');
$stranger->{stderr} = '';
is($session->query_safe($post), 'A', 'the owner may');

# and so do replicas
start_flow($to, 'r');
owner_sql($from, q{SELECT jflow_scale('r', 'e', 3)});
applied('more replicas are wanted');
wait_state($to, q{SELECT count(*) = 3 FROM jflow_stat_replicas WHERE flow = 'r' AND state = 'idle'}, 'three are there');
owner_sql($from, q{SELECT jflow_scale('r', 'e', 1)});
wait_state($to, q{SELECT count(*) = 1 FROM jflow_stat_replicas WHERE flow = 'r'}, 'one is left');
owner_sql($from, q{SELECT jflow_drop('r')});
wait_state($to, q{SELECT count(*) = 0 FROM jflow_stat_replicas}, 'none, when the flow is dropped');
owner_sql($from, q{SELECT jflow_drop('f')});
applied('the other is dropped, too');
($out, $failed) = $session->query($post);
ok($failed, 'and gone for the session');
$session->{stderr} = '';

# a session that fires no ordinary triggers
$to->safe_psql('postgres', 'DROP SUBSCRIPTION s');
add_flow($to, 'f', 'shout', 'replicas => 0');
is($session->query_safe($post), 'A', 'a flow of this server');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/data.sql';
$to->command_ok([ 'pg_dump', '--data-only', '--disable-triggers', '-f', $dump, $to->connstr('postgres') ], 'data alone is dumped');
$to->safe_psql('postgres', q{SET session_replication_role = replica;
	UPDATE jflow.executor SET uses = 'counted'});
is($session->query_safe($post), '0', 'an update by one is seen');
$to->safe_psql('postgres', q{SET session_replication_role = replica; TRUNCATE jflow.flow, jflow.executor, jflow.flow_grant});
($out, $failed) = $session->query($post);
ok($failed, 'so is TRUNCATE');
$session->{stderr} = '';
my $data = slurp_file($dump);
$to->command_ok([ 'psql', '-X', '-q', '-c', 'TRUNCATE jflow.class, jflow.model, jflow.codebook', '-f', $dump, $to->connstr('postgres') ], 'data alone is restored');
is($session->query_safe($post), 'A', 'a restore without triggers is seen');

$_->quit for $session, $stranger;
$_->stop for $to, $from;
done_testing();
