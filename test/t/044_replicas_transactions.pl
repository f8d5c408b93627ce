# Does each cell of the table "Transactions" hold: inline all or nothing with
# the caller, in replicas a transaction per request?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
owner_sql($node, q{CREATE FUNCTION fail_second(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.written SELECT text FROM unnest(docs);
		IF docs[1].text = '3' THEN RAISE EXCEPTION 'third'; END IF;
		RETURN NULL;
	END $$});
owner_sql($node, qq{
	SELECT jflow_create('$_->[0]');
	SELECT jflow_add('$_->[0]', 'e', requests => '{"/store": "store", "/count": "counted", "/fail": "fail_second"}', replicas => $_->[1]);
}) for ([ 'inline', 0 ], [ 'pool', 2 ]);
start_flow($node, 'pool');
my $count = 'SELECT count(*) FROM written';
sub cleared { owner_sql($node, 'TRUNCATE written'); return }

# executor runs in: the caller's transaction, or one per request
my $who = owner_sql($node, q{CREATE FUNCTION xid(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN docs[1].text := pg_current_xact_id(); RETURN docs; END $$;
	SELECT jflow_create('x0'); SELECT jflow_add('x0', 'e', uses => 'xid', replicas => 0);
	SELECT jflow_create('x1'); SELECT jflow_add('x1', 'e', uses => 'xid', replicas => 1)});
start_flow($node, 'x1');
is(ask($node, q{SELECT count(DISTINCT text), bool_and(text = pg_current_xact_id()::text) FROM jflow_post('/x', '{1,2,3}'::text[], 'x0', request_size => 1)}),
	'1|t', 'inline: the caller\'s transaction');
is(ask($node, q{SELECT count(DISTINCT text), bool_or(text = pg_current_xact_id()::text) FROM jflow_post('/x', '{1,2,3}'::text[], 'x1', request_size => 1)}),
	'3|f', 'replicas: a transaction per request');

# caller rolls back later: its writes are undone, or they stay
for my $case ([ 'inline', '0' ], [ 'pool', '2' ])
{
	my ($flow, $stay) = @$case;
	cleared();
	$node->safe_psql('postgres', qq{BEGIN; SELECT count(*) FROM jflow_post('/store', '{1,2}'::text[], '$flow', request_size => 1); ROLLBACK});
	is(ask($node, $count), $stay, "$flow: after the caller's rollback");
	cleared();
	$node->safe_psql('postgres', qq{BEGIN; SAVEPOINT s; SELECT count(*) FROM jflow_post('/store', '{1,2}'::text[], '$flow', request_size => 1);
		ROLLBACK TO s; COMMIT});
	is(ask($node, $count), $stay, "$flow: after a rollback to a savepoint");
}

# committed before the post returns: others see it while the caller's transaction is open
cleared();
my $caller = $node->background_psql('postgres');
$caller->query_safe(q{BEGIN; SELECT count(*) FROM jflow_post('/store', ARRAY['a'], 'pool')});
is(ask($node, $count), '1', 'replicas: others see it at once');
is($caller->query_safe($count), '1', 'a READ COMMITTED caller as well');
$caller->query_safe('COMMIT');
$caller->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$caller->query_safe($count);
$caller->query_safe(q{SELECT count(*) FROM jflow_post('/store', ARRAY['a'], 'pool')});
is($caller->query_safe($count), '1', 'a REPEATABLE READ caller does not');
is($caller->query_safe(q{SELECT text FROM jflow_post('/count', ARRAY['a'], 'pool')}), '2', 'but its replicas do');
$caller->query_safe('COMMIT');
cleared();
$caller->query_safe(q{BEGIN; SELECT count(*) FROM jflow_post('/store', ARRAY['a'], 'inline')});
is(ask($node, $count), '0', 'inline: others do not see it yet');
$caller->query_safe('COMMIT');
is(ask($node, $count), '1', 'but after the commit');
$caller->quit;

# sees the caller's uncommitted rows: yes, or no
$node->safe_psql('postgres', 'GRANT ALL ON written TO PUBLIC');
for my $case ([ 'inline', '1' ], [ 'pool', '0' ])
{
	my ($flow, $seen) = @$case;
	cleared();
	is(ask($node, qq{BEGIN; INSERT INTO written VALUES ('mine'); SELECT text FROM jflow_post('/count', ARRAY['a'], '$flow'); ROLLBACK}),
		$seen, "$flow: rows of the caller's that it sees");
}

# a post fails half-way: nothing happened, or the DETAIL counts what had committed
cleared();
my $failing = sub { qq{SELECT count(*) FROM jflow_post('/fail', '{1,2,3,4}'::text[], '$_[0]', request_size => 1)} };
fails_with($node, $failing->('inline'), 'P0001', qr/third/, 'inline: a post that fails half-way');
is(ask($node, $count), '0', 'inline: nothing happened');
my ($ret, $out, $err) = $node->psql('postgres', q{SET jflow.prefetch = 1; } . $failing->('pool'));
like($err, qr/ERROR:  third/, 'replicas: a post that fails half-way');
my $committed = ask($node, $count);
like($err, qr/DETAIL:.*\b$committed\b.*request/s, "replicas: the DETAIL counts the $committed requests that had committed");
cmp_ok($committed, '>=', 2, 'at least those before the failing one') if $err !~ /prefetch/;

# the same from a query, and continuing
cleared();
is(ask($node, q{SELECT docs, requests, failed FROM jflow_post_query('/fail', 'SELECT i::text AS text FROM generate_series(1, 5) i', 'pool',
	request_size => 1, continue_on_error => true)}), '4|5|1', 'continue_on_error counts');
is(ask($node, $count), '4', 'and only the failing request is not committed');

# read-only: searching works, writing fails with 25006
for my $flow ('inline', 'pool')
{
	for my $mode ('BEGIN READ ONLY', 'SET default_transaction_read_only = on; BEGIN', 'BEGIN; SET TRANSACTION READ ONLY')
	{
		cleared();
		is(ask($node, qq{$mode; SELECT text FROM jflow_post('/count', ARRAY['a'], '$flow'); COMMIT}), '0', "$flow: reading in $mode");
		fails_with($node, qq{$mode; SELECT * FROM jflow_post('/store', ARRAY['a'], '$flow')}, '25006', qr/read-only transaction/, "$flow: writing in $mode");
		is(ask($node, $count), '0', 'and nothing was written');
	}
	is(ask($node, qq{SET default_transaction_read_only = on; BEGIN READ WRITE; SELECT count(*) FROM jflow_post('/store', ARRAY['a'], '$flow'); COMMIT}), '1',
		"$flow: it is the transaction's state that counts, not the default");
}
owner_sql($node, q{ALTER ROLE flow_owner SET default_transaction_read_only = on});

# two-phase commit: what a request committed has no part in it
owner_sql($node, q{ALTER ROLE flow_owner RESET default_transaction_read_only});
cleared();
is(ask($node, q{BEGIN; SELECT count(*) FROM jflow_post('/store', ARRAY['p'], 'pool'); PREPARE TRANSACTION 'one'}), '1', 'PREPARE TRANSACTION after a post');
is(ask($node, $count), '1', 'the request was committed before');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'one'});
is(ask($node, $count), '1', 'and stays');
is(ask($node, q{BEGIN; SELECT count(*) FROM jflow_post('/store', ARRAY['p'], 'inline'); PREPARE TRANSACTION 'two'}), '1', 'PREPARE TRANSACTION after an inline post');
is(ask($node, $count), '1', 'its row waits');
$node->safe_psql('postgres', q{COMMIT PREPARED 'two'});
is(ask($node, $count), '2', 'for the commit');
# a start that is prepared, rather than committed, starts when it is
owner_sql($node, q{SELECT jflow_stop('x1')});
($ret, $out, $err) = $node->psql('postgres', q{BEGIN; SELECT jflow_start('x1'); PREPARE TRANSACTION 'three'});
if ($ret == 0)
{
	$node->safe_psql('postgres', q{COMMIT PREPARED 'three'});
	is(ask($node, q{SELECT jflow_wait('x1')}), 't', 'a start in a prepared transaction takes effect');
}
else
{
	like($err, qr/PREPARE|prepare/, 'or PREPARE TRANSACTION is refused, clearly');
}

# a caller in a parallel query is not asked to be one
is(ask($node, q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	SELECT count(*) FROM written w, LATERAL jflow_post('/count', ARRAY[w.text], 'pool') d}), '2', 'a post beside a scan that could be parallel');

# an error at commit: a deferred constraint arrives with its name
owner_sql($node, q{CREATE TABLE parent (id int PRIMARY KEY);
	CREATE TABLE child (id int CONSTRAINT the_fk REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
	CREATE FUNCTION orphan(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.child VALUES (7); RETURN NULL; END $$;
	SELECT jflow_create('c'); SELECT jflow_add('c', 'e', uses => 'orphan')});
start_flow($node, 'c');
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'c')}, '23503', qr/the_fk.*CONSTRAINT NAME:  the_fk/s, 'a deferred constraint');
is(ask($node, 'SELECT count(*) FROM child'), '0', 'and its row is not there');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
