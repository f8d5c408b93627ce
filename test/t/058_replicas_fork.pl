# Where the server cannot fork, do posts fail with the reason instead of hanging,
# and does all run again when it can?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'prlimit is not installed' if system('prlimit --version >/dev/null 2>&1') != 0;
plan skip_all => 'root has no limit of processes' if $> == 0;

my $node = new_node('main');
prepare_database($node);
add_flow($node, 'f', 'shout', 'replicas => 2');
start_flow($node, 'f');
my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
my $limit = sub { system_or_bail('prlimit', '--pid', $postmaster, "--nproc=$_[0]:") };
my ($before) = `prlimit --pid $postmaster --nproc --output SOFT --noheadings` =~ /(\w+)/;

# sessions that are there already do not need to be forked
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('SET client_min_messages = error');
my $wait_for = sub {
	my ($condition) = @_;
	my $good = $session->query(qq{DO \$\$ BEGIN
		FOR i IN 1..6000 LOOP IF $condition THEN RETURN; END IF; PERFORM pg_sleep(0.01); END LOOP;
		RAISE EXCEPTION 'never'; END \$\$; SELECT 'good'});
	return $good eq 'good';
};
$limit->(1);
isnt(($node->psql('postgres', 'SELECT 1'))[0], 0, 'the server cannot fork');
$session->query_safe('SELECT pg_terminate_backend(pid) FROM jflow_stat_replicas');
ok($wait_for->(q{(SELECT running = 0 AND last_error ~ 'did not start' FROM jflow_status)}), 'the status says that replicas do not start');
$session->query(q{\set VERBOSITY verbose});
$session->query(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')});
like($session->{stderr}, qr/55000.*has no replica that can run.*did not start/s, 'a post fails with the reason');
$session->{stderr} = '';
$limit->($before);
is($session->query(q{SELECT jflow_wait('f')}), 't', 'when it can fork, the replicas run');
is($session->query(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}), 'A', 'and serve');

# nor can a scout be sent
$limit->(1);
$session->query_safe(q{SELECT jflow_scale('f', 'e', 3)});
ok($wait_for->(q{(SELECT wanted = 3 AND running = 2 FROM jflow_status)}), 'without a scout nothing changes');
is($session->query(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}), 'A', 'and what runs serves');
$limit->($before);
is($session->query(q{SELECT jflow_wait('f', '50s')}), 't', 'a scout comes when it can');
$session->quit;
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
