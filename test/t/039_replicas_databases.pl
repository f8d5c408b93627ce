# Do statements on databases succeed while flows run in them, and do the
# replicas come back where the statement fails?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'allow_in_place_tablespaces = on');
prepare_database($node);
sub make_database
{
	my ($db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	prepare_database($node, $db);
	add_flow($node, 'f', 'shout', 'replicas => 2', $db);
	start_flow($node, 'f', $db);
	return;
}
sub serves
{
	my ($db, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(ask($node, q{SELECT jflow_wait('f')}, $db), 't', "$name: replicas run");
	is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}, $db), 'A', "$name: and serve");
	return;
}
my $replicas_of = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'jflow %' AND datname = };

# DROP DATABASE, plain and with FORCE
make_database('d1');
$node->safe_psql('postgres', 'DROP DATABASE d1');
pass('DROP DATABASE succeeds');
make_database('d1');
$node->safe_psql('postgres', 'DROP DATABASE d1 WITH (FORCE)');
pass('DROP DATABASE with FORCE succeeds');

# one that fails because a client is connected
make_database('d2');
my $client = $node->background_psql('d2');
my ($ret, $out, $err) = $node->psql('postgres', 'DROP DATABASE d2');
like($err, qr/is being accessed by other users/, 'DROP DATABASE fails while a client is connected');
like($err, qr/There is 1 other session/, 'which counts the client alone');
serves('d2', 'after a failed DROP DATABASE');

# one that a timeout ends, and one whose session is killed
$node->psql('postgres', q{SET statement_timeout = '200ms'; DROP DATABASE d2});
serves('d2', 'after a DROP DATABASE that timed out');

# RENAME, SET TABLESPACE
($ret, $out, $err) = $node->psql('postgres', 'ALTER DATABASE d2 RENAME TO d3');
isnt($ret, 0, 'RENAME fails while a client is connected');
serves('d2', 'after a failed RENAME');
$client->quit;
$node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = 'd2' AND backend_type = 'client backend')});
$node->safe_psql('postgres', 'ALTER DATABASE d2 RENAME TO d3');
serves('d3', 'after RENAME');
$node->safe_psql('postgres', q{CREATE TABLESPACE ts LOCATION ''});
$node->safe_psql('postgres', 'ALTER DATABASE d3 SET TABLESPACE ts');
serves('d3', 'after SET TABLESPACE');

# a template, by both strategies
$node->safe_psql('postgres', "CREATE DATABASE c_$_ TEMPLATE d3 STRATEGY $_") for ('wal_log', 'file_copy');
serves('d3', 'after CREATE DATABASE ... TEMPLATE');
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'f')}, '55000', qr/jflow_start/, 'the clone is stopped', 'c_wal_log');
$node->safe_psql('postgres', "CREATE DATABASE plain TEMPLATE template0; CREATE DATABASE plain1");
pass('template0 and template1 can be copied');

# in a request: a post runs while somebody drops the database by force
my $poster = post_in_background($node, q{SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id FROM generate_series(1, 100000000) i', 'f')}, 'd3');
wait_state($node, q{SELECT count(*) = 1 FROM jflow_progress}, 'a post runs', 'd3');
$node->safe_psql('postgres', 'DROP DATABASE d3 WITH (FORCE)');
eval { $poster->{run}->finish };
pass('DROP DATABASE with FORCE during a post');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_database d WHERE d.oid = datid)'),
	'0', 'no process is left in a database that is gone');
is_at_rest($node, 'after it');

# datallowconn: no replica of a database that takes no connections
make_database('d4');
$node->safe_psql('postgres', q{ALTER DATABASE d4 ALLOW_CONNECTIONS false});
$node->restart;
is($node->safe_psql('postgres', $replicas_of . q{'d4'}), '0', 'a database that takes no connections gets no replica');
$node->safe_psql('postgres', q{ALTER DATABASE d4 ALLOW_CONNECTIONS true});
$node->restart;
serves('d4', 'when it takes them again');

# the same name again starts from nothing
$node->safe_psql('postgres', 'DROP DATABASE d4; ');
$node->safe_psql('postgres', 'CREATE DATABASE d4');
prepare_database($node, 'd4');
is(ask($node, 'SELECT count(*) FROM jflow_status', 'd4'), '0', 'a database of the same name knows nothing');
is($node->safe_psql('postgres', $replicas_of . q{'d4'}), '0', 'and has no replica');
$node->stop;
done_testing();
