# Do read-only endpoints work on a hot standby, do writing ones fail with
# 25006, and do started flows run by themselves after a promotion?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary');
prepare_database($primary);
owner_sql($primary, q{
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'e', requests => '{"/search": "counted", "/index": "store"}', replicas => 2)});
start_flow($primary, 'f');
is(ask($primary, q{SELECT count(*) FROM jflow_post('/index', ARRAY['a'], 'f')}), '1', 'the primary writes');

$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'jflow.standby_replicas = on');
$standby->start;
$primary->wait_for_catchup($standby);

is(ask($standby, q{SELECT jflow_wait('f')}), 't', 'replicas run on the standby');
is(ask($standby, q{SELECT text FROM jflow_post('/search', ARRAY['a'], 'f')}), '1', 'and search');
fails_with($standby, q{SELECT * FROM jflow_post('/index', ARRAY['b'], 'f')}, '25006', qr/read-only|recovery/, 'a writing endpoint');
is(ask($standby, q{SELECT text FROM jflow_post('/search', ARRAY['a'], 'f')}), '1', 'searching goes on');
fails_with($standby, q{SELECT jflow_stop('f')}, '25006', qr/read-only/, 'stopping on the standby');
is_at_rest($standby, 'standby');

# a flow that the primary has started since: the standby looks when it starts
owner_sql($primary, q{SELECT jflow_create('g'); SELECT jflow_add('g', 'e', uses => 'counted'); SELECT jflow_start('g')});
$primary->wait_for_catchup($standby);
$standby->restart;
is(ask($standby, q{SELECT jflow_wait('g')}), 't', 'a flow started later runs after a restart of the standby');
is(ask($standby, q{SELECT text FROM jflow_post('/search', ARRAY['a'], 'g')}), '1', 'and serves');

# shards that the primary adds meanwhile: a post that sees them waits for their replicas
for my $shards (2, 3, 1, 4)
{
	owner_sql($primary, qq{SELECT jflow_scale('g', 'e', shards => $shards)});
	$primary->wait_for_catchup($standby);
	is(ask($standby, q{SELECT text FROM jflow_post('/search', ARRAY['a'], 'g')}), '1', "a post right after the scale to $shards shards");
}

# without the setting nothing runs until promotion
$standby->append_conf('postgresql.conf', 'jflow.standby_replicas = off');
$standby->restart;
fails_with($standby, q{SELECT text FROM jflow_post('/search', ARRAY['a'], 'f')}, '55000', qr/standby_replicas/, 'a post where the setting is off');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jflow replica'}), '0', 'and none runs');
$primary->stop;
$standby->promote;
is(ask($standby, q{SELECT jflow_wait('f')}), 't', 'after the promotion they do');
is(ask($standby, q{SELECT count(*) FROM jflow_post('/index', ARRAY['b'], 'f')}), '1', 'and write');
is(ask($standby, q{SELECT text FROM jflow_post('/search', ARRAY['b'], 'f')}), '2', 'what is there to be found');
$standby->stop;
done_testing();
