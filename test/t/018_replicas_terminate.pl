# Does a replica terminated under load cost nobody a document?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
owner_sql($node, q{
	CREATE FUNCTION work(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		PERFORM sum(i) FROM generate_series(1, 2000) i;
		FOR i IN 1..cardinality(docs) LOOP docs[i].text := upper(docs[i].text); END LOOP;
		RETURN docs;
	END $$;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'a', uses => 'work', replicas => 2, retries => 20);
	SELECT jflow_add('f', 'b', uses => 'work', replicas => 2, retries => 20)});
start_flow($node, 'f');

# two posts of many requests, while replicas go one after the other
my $post = q{SELECT count(*), count(DISTINCT id), bool_and(text = 'DOC ' || id)
	FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => i::text, text => 'doc ' || i)) FROM generate_series(1, 20000) i),
	'f', request_size => 20)};
my $kills = 0;
for my $round (1 .. 20)
{
	my @sessions = map { post_in_background($node, $post) } 1 .. 2;
	while ($node->safe_psql('postgres', 'SELECT count(*) FROM jflow_progress') ne '0' && $kills < 12)
	{
		my $pid = $node->safe_psql('postgres', q{SELECT pid FROM jflow_stat_replicas WHERE state = 'busy' LIMIT 1});
		next if $pid eq '';
		next if $node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)") ne 't';
		$kills++;
		$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
		$node->poll_query_until('postgres',
			q{SELECT bool_and(running = wanted) OR NOT EXISTS (SELECT FROM jflow_progress) FROM jflow_status WHERE flow = 'f'});
	}
	for my $session (@sessions)
	{
		my ($out, $err) = finish_background($session);
		is($err, '', 'a post under fire succeeds');
		is($out, '20000|20000|t', 'with every document once');
	}
	last if $kills >= 3;	# few moments are caught on a busy machine
}
cmp_ok($kills, '>=', 3, "$kills replicas were terminated under load");
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'all replicas are back');
is_at_rest($node, 'after the terminations');

# each terminated while it runs a request for sure
add_flow($node, 'g', 'store_gate', 'retries => 2');
start_flow($node, 'g');
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my $poster = post_in_background($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['once'], 'g')});
my $waits = q{SELECT count(*) = 1 FROM pg_locks l JOIN jflow_stat_replicas r USING (pid)
	WHERE l.locktype = 'advisory' AND NOT l.granted AND r.flow = 'g'};
for my $i (1 .. 2)
{
	wait_state($node, $waits, 'a replica runs the request');
	my $pid = (running_pids($node, 'g'))[0];
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_state($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)", 'it is terminated');
}
wait_state($node, $waits, 'the third replica runs it');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
my ($out, $err) = finish_background($poster);
is("$out$err", '1', 'the request ends well');
is(ask($node, q{SELECT count(*) FROM written WHERE text = 'once'}), '1', 'and was committed once');

# more often than retries allow
$holder->query_safe('SELECT pg_advisory_lock(42)');
$poster = post_in_background($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['never'], 'g')});
for my $i (1 .. 3)
{
	wait_state($node, $waits, 'a replica runs the request');
	my $pid = (running_pids($node, 'g'))[0];
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_state($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)", 'it is terminated');
}
($out, $err) = finish_background($poster);
like($err, qr/ERROR:  (?!40003)\w{5}: .*/, 'beyond its retries the post fails');
like($err, qr/replica/, 'and says why') or diag($err);
$holder->quit;
is(ask($node, q{SELECT jflow_wait('g')}), 't', 'the pool recovers');
is(ask($node, q{SELECT count(*) FROM written WHERE text = 'never'}), '0', 'nothing of it was committed');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
