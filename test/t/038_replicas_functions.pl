# Is a change of a running executor's function, or of its flow, obeyed by the
# next request, and a missing function a clear error?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
my $body = sub { qq{CREATE OR REPLACE FUNCTION f1(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS \$\$ BEGIN docs[1].text := '$_[0]'; RETURN docs; END \$\$} };
owner_sql($node, $body->('first'));
add_flow($node, 'f', 'f1');
start_flow($node, 'f');
my $post = q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')};
my ($pid) = running_pids($node);

is(ask($node, $post), 'first', 'the function as it is');
owner_sql($node, $body->('second'));
is(ask($node, $post), 'second', 'CREATE OR REPLACE FUNCTION');
owner_sql($node, 'BEGIN; ' . $body->('never') . '; ROLLBACK');
is(ask($node, $post), 'second', 'a change that was rolled back');
owner_sql($node, 'ALTER FUNCTION f1(jflow_doc[], jsonb) STABLE');
is(ask($node, $post), 'second', 'ALTER FUNCTION');
owner_sql($node, 'ALTER FUNCTION f1(jflow_doc[], jsonb) RENAME TO f2');
fails_with($node, $post, '42883', qr/f1/, 'a renamed function');
owner_sql($node, 'ALTER FUNCTION f2(jflow_doc[], jsonb) RENAME TO f1');
is(ask($node, $post), 'second', 'named back');
owner_sql($node, 'DROP FUNCTION f1(jflow_doc[], jsonb)');
fails_with($node, $post, '42883', qr/f1/, 'a dropped function');
owner_sql($node, $body->('third'));
is(ask($node, $post), 'third', 'made anew');
is(join(' ', running_pids($node)), $pid, 'all that in one and the same replica');

# dropped while it runs: the request that runs ends well
owner_sql($node, q{CREATE FUNCTION mine(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); docs[1].text := 'done'; RETURN docs; END $$});
add_flow($node, 'g', 'mine');
start_flow($node, 'g');
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my $poster = post_in_background($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'g')});
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'a request runs');
owner_sql($node, 'DROP FUNCTION mine(jflow_doc[], jsonb)');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
my ($out, $err) = finish_background($poster);
is("$out$err", 'done', 'dropped while it runs: the request ends well');
fails_with($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'g')}, '42883', qr/mine/, 'the next one does not');

# changes of rights and of what the function uses
$node->safe_psql('postgres', 'CREATE ROLE caller');
owner_sql($node, q{SELECT jflow_grant('f', 'caller')});
is(ask($node, "SET ROLE caller; $post"), 'third', 'a caller with a grant');
owner_sql($node, q{SELECT jflow_revoke('f', 'caller')});
like(ask($node, "SET ROLE caller; $post"), qr/^42(501|704): /, 'a caller whose grant was revoked');
$node->safe_psql('postgres', q{CREATE ROLE thief; ALTER FUNCTION f1(jflow_doc[], jsonb) OWNER TO thief});
fails_with($node, $post, '42501', qr/f1/, 'a function whose owner the flow\'s owner does not trust');
$node->safe_psql('postgres', q{ALTER FUNCTION f1(jflow_doc[], jsonb) OWNER TO flow_owner});
is(ask($node, $post), 'third', 'trusted again');
$node->safe_psql('postgres', q{REVOKE EXECUTE ON FUNCTION f1(jflow_doc[], jsonb) FROM PUBLIC, flow_owner});
fails_with($node, $post, '42501', qr/f1/, 'a function that the owner may not execute');
$node->safe_psql('postgres', q{GRANT EXECUTE ON FUNCTION f1(jflow_doc[], jsonb) TO flow_owner});
is(ask($node, $post), 'third', 'may again');

# an executor added to, and removed from, a started flow
owner_sql($node, q{SELECT jflow_add('f', 'last', uses => 'shout')});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'an executor added to a started flow gets a replica');
is(ask($node, $post), 'THIRD', 'and serves');
owner_sql($node, q{SELECT jflow_remove('f', 'last')});
is(ask($node, $post), 'third', 'taken out again');
wait_state($node, q{SELECT count(*) = 1 FROM jflow_stat_replicas WHERE flow = 'f'}, 'its replica leaves');
$holder->quit;
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
