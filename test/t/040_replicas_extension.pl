# DROP EXTENSION committed, rolled back, made anew in one transaction, and
# DROP OWNED: do the replicas go, stay, or come back accordingly?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
sub make
{
	prepare_database($node);
	add_flow($node, 'f', 'whoami', 'replicas => 2');
	start_flow($node, 'f');
	return;
}
my $post = q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'f')};
my $none = q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow replica'};
make();

# rolled back, also by a savepoint
$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION jflow CASCADE; ROLLBACK');
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'rolled back: the replicas run');
is(ask($node, $post), '1', 'and serve');
$node->safe_psql('postgres', 'BEGIN; SAVEPOINT s; DROP EXTENSION jflow CASCADE; ROLLBACK TO s; COMMIT');
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'rolled back to a savepoint: the replicas run');
is(ask($node, $post), '1', 'and serve');
my ($ret) = $node->psql('postgres', 'DROP EXTENSION jflow RESTRICT');
isnt($ret, 0, 'DROP EXTENSION ... RESTRICT fails for the functions that use its types');
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'failed: the replicas run');

# during a post
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
add_flow($node, 'g', 'gate');
start_flow($node, 'g');
my $poster = post_in_background($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'g')});
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'a request runs');
my $dropper = post_in_background($node, 'SET client_min_messages = error; DROP EXTENSION jflow CASCADE');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
my ($out, $err) = finish_background($poster);
ok($out eq '1' || $err =~ /ERROR/, 'the post during the drop ends, one way or the other') or diag("$out $err");
($out, $err) = finish_background($dropper);
is($err, '', 'DROP EXTENSION succeeds while flows run');
wait_state_no_ext('committed: no replica is left');
$node->safe_psql('postgres', 'DROP OWNED BY flow_owner');

sub wait_state_no_ext
{
	my ($name) = @_;
	ok($node->poll_query_until('postgres', $none), $name);
	return;
}

# dropped and made anew in one transaction: nothing is started
make();
my @old = running_pids($node);
$node->safe_psql('postgres', q{SET client_min_messages = error; BEGIN; DROP EXTENSION jflow CASCADE; CREATE EXTENSION jflow; COMMIT});
wait_state_no_ext('made anew: no replica is left');
is($node->safe_psql('postgres', 'SELECT count(*) FROM jflow_status'), '0', 'and no flow');
$node->safe_psql('postgres', 'SET client_min_messages = error; DROP EXTENSION jflow CASCADE; DROP OWNED BY flow_owner');

# a flow of the same name in the new extension gets new replicas
make();
@old = running_pids($node);
$node->safe_psql('postgres', q{SET client_min_messages = error; BEGIN; DROP EXTENSION jflow CASCADE; DROP OWNED BY flow_owner; CREATE EXTENSION jflow;
	GRANT CREATE ON SCHEMA public TO flow_owner; SET LOCAL ROLE flow_owner;
	CREATE FUNCTION whoami(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
		$$ BEGIN docs[1].text := 'new'; RETURN docs; END $$;
	SELECT jflow_create('f'); SELECT jflow_add('f', 'e', uses => 'whoami', replicas => 2); SELECT jflow_start('f'); COMMIT});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'a flow of the same name runs');
is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}), 'new', 'with its new definition');
my %old = map { $_ => 1 } @old;
ok(!(grep { $old{$_} } running_pids($node)), 'in new processes');

# it goes along with its schema
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE SCHEMA ext; CREATE EXTENSION jflow SCHEMA ext CASCADE; GRANT CREATE, USAGE ON SCHEMA ext TO flow_owner;
	SET search_path = ext; SET ROLE flow_owner;
	CREATE FUNCTION noop(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT docs';
	SELECT jflow_create('f'); SELECT jflow_add('f', 'e', uses => 'ext.noop'); SELECT jflow_start('f')});
is($node->safe_psql('other', q{SELECT ext.jflow_wait('f')}), 't', 'a flow runs in another database');
$node->safe_psql('other', 'SET client_min_messages = error; BEGIN; DROP SCHEMA ext CASCADE; ROLLBACK');
is($node->safe_psql('other', q{SELECT ext.jflow_wait('f')}), 't', 'DROP SCHEMA ... CASCADE, rolled back: it runs');
$node->safe_psql('other', 'SET client_min_messages = error; DROP SCHEMA ext CASCADE');
ok($node->poll_query_until('other', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow replica' AND datname = 'other'}),
	'DROP SCHEMA ... CASCADE: no replica is left');
$node->safe_psql('postgres', 'DROP DATABASE other');

# DROP OWNED of the owner of extension and flow alike
$node->safe_psql('postgres', 'SET client_min_messages = error; DROP EXTENSION jflow CASCADE; DROP OWNED BY flow_owner');
$node->safe_psql('postgres', q{SET client_min_messages = error; CREATE ROLE boss SUPERUSER LOGIN; SET ROLE boss; CREATE EXTENSION jflow});
make_as_boss();
sub make_as_boss
{
	$node->safe_psql('postgres', q{
		SET client_min_messages = error; GRANT CREATE ON SCHEMA public TO flow_owner; SET ROLE flow_owner;
		SELECT jflow_create('f'); SELECT jflow_add('f', 'e'); SELECT jflow_start('f')});
	is(ask($node, q{SELECT jflow_wait('f')}), 't', 'a flow runs in an extension that is not the first superuser\'s');
	return;
}
$node->safe_psql('postgres', 'BEGIN; DROP OWNED BY boss CASCADE; ROLLBACK');
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'DROP OWNED rolled back: the replicas run');
is(ask($node, $post), '1', 'and serve');
$node->safe_psql('postgres', 'SET client_min_messages = error; DROP OWNED BY boss CASCADE');
wait_state_no_ext('DROP OWNED: no replica is left');
$node->safe_psql('postgres', 'SET client_min_messages = error; DROP OWNED BY flow_owner');
make();
is(ask($node, $post), '1', 'and the extension can be made again');
$holder->quit;

# ALTER EXTENSION UPDATE to the version it has
is(ask($node, q{SET client_min_messages = error; ALTER EXTENSION jflow UPDATE; SELECT 1}), '1', 'ALTER EXTENSION UPDATE while flows run');
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'the replicas run');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
