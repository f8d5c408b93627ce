# A role that is dropped, may not log in or connect, or loses its rights while
# its flow runs: does only that flow fail, with a clear reason, and recover?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

# from 17 on a worker may connect as a role that must not log in
plan skip_all => 'written for PostgreSQL 15' if ($ENV{PG_MAJOR} // 15) >= 17;

my $node = new_node('main', 'jflow.restart_delay_max = 2s');
prepare_database($node);
add_flow($node, 'good', 'shout');
start_flow($node, 'good');
$node->safe_psql('postgres', q{CREATE ROLE bob LOGIN; GRANT CREATE ON SCHEMA public TO bob; SET ROLE bob;
	CREATE TABLE bobs (text text);
	CREATE FUNCTION bob_store(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.bobs SELECT text FROM unnest(docs); docs[1].text := current_user || ' ' || session_user; RETURN docs; END $$;
	SELECT jflow_create('b'); SELECT jflow_add('b', 'e', uses => 'bob_store')});
my $start = q{SET ROLE bob; SELECT jflow_start('b')};
my $post = q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'b')};
sub good_serves { is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'good')}), 'A', "$_[0]: the other flow serves"); return }
sub bob_recovers
{
	my ($name) = @_;
	# what an administrator repairs needs no restart, but a new start helps at once
	$node->safe_psql('postgres', $start);
	is(ask($node, q{SELECT jflow_wait('b')}), 't', "$name: the flow runs again");
	is(ask($node, $post), 'bob bob', "$name: and serves, as its owner in every respect");
	return;
}
bob_recovers('at first');

# NOLOGIN: a replica that runs may go on, a new one must not start
$node->safe_psql('postgres', 'ALTER ROLE bob NOLOGIN');
my ($pid) = running_pids($node, 'b');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_state($node, q{SELECT running = 0 AND last_error ~ 'log in|LOGIN' FROM jflow_status WHERE flow = 'b'}, 'NOLOGIN: the reason is shown');
fails_with($node, $post, '55000', qr/log in|LOGIN|login/, 'NOLOGIN: a post fails at once');
good_serves('NOLOGIN');
$node->safe_psql('postgres', 'ALTER ROLE bob LOGIN');
bob_recovers('LOGIN again');

# CONNECT
$node->safe_psql('postgres', 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO flow_owner');
($pid) = running_pids($node, 'b');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_state($node, q{SELECT running = 0 AND last_error ~* 'connect|permission' FROM jflow_status WHERE flow = 'b'}, 'REVOKE CONNECT: the reason is shown');
fails_with($node, $post, '55000', qr/connect|permission/i, 'REVOKE CONNECT: a post fails at once');
good_serves('REVOKE CONNECT');
$node->safe_psql('postgres', 'GRANT CONNECT ON DATABASE postgres TO PUBLIC');
bob_recovers('CONNECT again');

# rights on a table, lost and got back while a replica runs
$node->safe_psql('postgres', 'REVOKE INSERT ON bobs FROM bob');
fails_with($node, $post, '42501', qr/permission denied for table bobs.*executor "e", shard 0/s, 'a lost right on a table');
$node->safe_psql('postgres', 'GRANT INSERT ON bobs TO bob');
is(ask($node, $post), 'bob bob', 'got back');
$node->safe_psql('postgres', 'REVOKE CREATE, USAGE ON SCHEMA public FROM PUBLIC, bob');
fails_with($node, $post, '42501', qr/public/, 'a lost right on the schema');
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA public TO PUBLIC; GRANT CREATE ON SCHEMA public TO bob');
is(ask($node, $post), 'bob bob', 'got back');

# superusers' flows need the setting
$node->safe_psql('postgres', q{SELECT jflow_create('s'); SELECT jflow_add('s', 'e', uses => 'BaseExecutor')});
my ($ret, $out, $err) = $node->psql('postgres', q{SELECT jflow_start('s'); SELECT jflow_wait('s')});
isnt("$ret$out", "01\nt", 'a superuser\'s flow does not start');
like($err . $node->safe_psql('postgres', q{SELECT last_error FROM jflow_status WHERE flow = 's'}), qr/allow_superuser_flows/, 'and the reason names the setting');
$node->append_conf('postgresql.conf', 'jflow.allow_superuser_flows = on');
$node->reload;
$node->safe_psql('postgres', q{SELECT jflow_start('s')});
is(ask($node, q{SELECT jflow_wait('s')}), 't', 'with it the flow runs');
$node->safe_psql('postgres', q{SELECT jflow_drop('s')});

# another role made a superuser must not run under the old terms
$node->append_conf('postgresql.conf', 'jflow.allow_superuser_flows = off');
$node->reload;
$node->safe_psql('postgres', 'ALTER ROLE bob SUPERUSER');
($pid) = running_pids($node, 'b');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_state($node, q{SELECT running = 0 AND last_error ~ 'allow_superuser_flows' FROM jflow_status WHERE flow = 'b'}, 'an owner made superuser: the reason is shown');
$node->safe_psql('postgres', 'ALTER ROLE bob NOSUPERUSER');
bob_recovers('NOSUPERUSER again');

# only who may use a flow may do so, and only its owner may run it
$node->safe_psql('postgres', 'CREATE ROLE eve');
for my $f (q{jflow_start('b')}, q{jflow_stop('b')}, q{jflow_scale('b', 'e', 5)}, q{jflow_restart('b', 'e')})
{
	like(ask($node, "SET ROLE eve; SELECT $f"), qr/^42(501|704): /, "a stranger: $f");
}
like(ask($node, "SET ROLE eve; $post"), qr/^42(501|704): /, 'a stranger posts');
for my $view ('jflow_status', 'jflow_stat_replicas', 'jflow_stat_endpoints', 'jflow_requests', 'jflow_progress')
{
	is(ask($node, "SET ROLE eve; SELECT count(*) FROM $view"), '0', "a stranger sees nothing in $view");
}
$node->safe_psql('postgres', q{SET ROLE bob; SELECT jflow_grant('b', 'eve')});
is(ask($node, "SET ROLE eve; $post"), 'bob bob', 'with a grant he may post');
like(ask($node, "SET ROLE eve; SELECT jflow_stop('b')"), qr/^42501: /, 'but not stop');

# somebody else's post cannot be cancelled by a stranger
$node->safe_psql('postgres', 'CREATE ROLE mallory');
add_flow($node, 'g', 'gate');
start_flow($node, 'g');
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my $poster = post_in_background($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'g')});
wait_state($node, q{SELECT count(*) = 1 FROM jflow_requests WHERE flow = 'g'}, 'a post runs');
my $id = $node->safe_psql('postgres', 'SELECT post FROM jflow_progress');
my $answer = ask($node, "SET ROLE mallory; SELECT jflow_cancel($id)");
like($answer, qr/^(f|42501: .*)$/, 'a stranger cannot cancel it');
$node->safe_psql('postgres', 'GRANT pg_signal_backend TO mallory');
like(ask($node, "SET ROLE mallory; SELECT jflow_cancel($id)"), qr/^42501: /, 'nor who may signal backends, but not a superuser\'s');
is($node->safe_psql('postgres', 'SELECT count(*) FROM jflow_progress'), '1', 'it runs on');
like(ask($node, "SET ROLE flow_owner; SELECT jflow_cancel($id)"), qr/^42501: /, 'nor can the flow\'s owner, a superuser\'s one');
is(ask($node, "SELECT jflow_cancel($id)"), 't', 'the caller\'s own role can');
($out, $err) = finish_background($poster);
like($err, qr/57014/, 'and it is cancelled');
$holder->quit;

# the role is dropped
$node->safe_psql('postgres', q{CREATE ROLE carl LOGIN; GRANT CREATE ON SCHEMA public TO carl; SET ROLE carl; SELECT jflow_create('c');
	SELECT jflow_add('c', 'e'); SELECT jflow_start('c')});
is(ask($node, q{SELECT jflow_wait('c')}), 't', 'a flow of a role that will go');
$node->safe_psql('postgres', 'DROP OWNED BY carl; DROP ROLE carl');
like(ask($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'c')}), qr/^\w{5}: .*carl/, 'a post after DROP ROLE names the role');
wait_state($node, q{SELECT running = 0 AND last_error LIKE '%carl%' FROM jflow_status WHERE flow = 'c'}, 'DROP ROLE: replicas leave, the reason is shown');
$node->safe_psql('postgres', 'CREATE ROLE carl LOGIN; GRANT CREATE ON SCHEMA public TO carl');
good_serves('DROP ROLE');

# by a transaction that another session commits, perhaps after a restart
for my $restart (0, 1)
{
	my $role = "dora$restart";
	$node->safe_psql('postgres', qq{SELECT jflow_drop(flow) FROM jflow_flows WHERE flow = 'd'; CREATE ROLE $role LOGIN; SET ROLE $role;
		SELECT jflow_create('d'); SELECT jflow_add('d', 'e'); SELECT jflow_start('d')});
	is(ask($node, q{SELECT jflow_wait('d')}), 't', 'a flow of a role that will go');
	is(ask($node, qq{BEGIN; DROP ROLE $role; PREPARE TRANSACTION 'drop'}), '', 'DROP ROLE is prepared');
	$node->restart if $restart;
	is(ask($node, q{SELECT jflow_wait('d')}), 't', 'and hurts nobody yet');
	$node->safe_psql('postgres', q{COMMIT PREPARED 'drop'});
	wait_state($node, qq{SELECT running = 0 AND last_error LIKE '%$role%' FROM jflow_status WHERE flow = 'd'}, 'COMMIT PREPARED: replicas leave, the reason is shown');
	good_serves('COMMIT PREPARED');
}
$node->restart;
is(ask($node, q{SELECT jflow_wait('good')}), 't', 'after a restart the others run');
good_serves('restart');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
