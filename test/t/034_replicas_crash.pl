# After kill -9 of a replica, the launcher, a gateway or the postmaster, does
# everything come back without help?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'fsync = off');
prepare_database($node);
add_flow($node, 'f', 'store', 'replicas => 2');
start_flow($node, 'f');

my $post = q{SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id, i::text AS text FROM generate_series(1, 1000000) i', 'f', request_size => 10)};

# Kill what "pid" gives, under load, and look whether the flow serves again.
sub kill_under_load
{
	my ($what, $choose) = @_;
	my $poster = post_in_background($node, $post);
	$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM jflow_progress WHERE steps_done > 20')
	  or die 'the post does not get on';
	my $pid = $choose->($poster);
	if ($what eq 'postmaster')
	{
		$node->kill9;
		eval { $poster->{run}->finish };
		ok(start_again($node), 'the server starts again');
	}
	else
	{
		kill_and_wait($node, $pid);
		eval { $poster->{run}->finish };
	}
	is(ask($node, q{SELECT jflow_wait('f', timeout => '60s')}), 't', "$what: replicas run again after kill -9");
	is(ask($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'f')}), '1', "$what: and serve");
	is($node->safe_psql('postgres', q{SELECT running, wanted FROM jflow_status WHERE flow = 'f'}), '2|2', "$what: as many as before");
	is_at_rest($node, $what);
	return;
}

kill_under_load('replica', sub { $node->safe_psql('postgres', q{SELECT pid FROM jflow_stat_replicas LIMIT 1}) });
kill_under_load('launcher', sub { worker_pid($node, 'jflow launcher') });
kill_under_load('gateway', sub { $_[0]->{pid} });
kill_under_load('postmaster', sub { 0 });

# what was committed came whole requests at a time
is(ask($node, q{SELECT count(*) FROM (
	SELECT (t - 1) / 10 FROM (SELECT text::int AS t, count(*) AS n FROM written WHERE text ~ '^\d+$' GROUP BY 1) rows
	GROUP BY 1 HAVING count(*) <> 10 OR min(n) <> max(n)) torn}), '0', 'no request was committed in part');
$node->stop;
done_testing();
