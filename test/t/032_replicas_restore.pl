# Does a restore, or a clone by template, come up stopped and say how to start?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
add_flow($node, 'f', 'shout', 'replicas => 2');
start_flow($node, 'f');
my $dir = PostgreSQL::Test::Utils::tempdir();

$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/a.dump", $node->connstr('postgres') ], 'dump with running replicas');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$dir/a.dump" ], 'restore');
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE postgres');
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'the template runs again after it was copied');

for my $db ('restored', 'clone')
{
	fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'f')}, '55000', qr/HINT:.*jflow_start/, "$db: a post", $db);
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = '$db'"), '0', "$db has no replica");
}
$node->restart;
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'only the first one runs after a restart');
is($node->safe_psql('postgres', q{SELECT DISTINCT datname FROM pg_stat_activity WHERE backend_type = 'jflow replica'}), 'postgres', 'as before');
start_flow($node, 'f', $_) for ('restored', 'clone');
is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}, $_), 'A', "$_ serves when started") for ('restored', 'clone');

# a dump of a started flow, restored onto another server
my $other = new_node('other');
$other->safe_psql('postgres', 'CREATE ROLE flow_owner LOGIN; CREATE DATABASE d');
$other->command_ok([ 'pg_restore', '-e', '-d', $other->connstr('d'), "$dir/a.dump" ], 'restore on another server');
fails_with($other, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'f')}, '55000', qr/jflow_start/, 'another server: a post', 'd');
$other->restart;
is($other->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jflow replica'}), '0', 'nor after its restart');
$other->stop;
$node->stop;
done_testing();
