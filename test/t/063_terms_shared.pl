# Is a fitted model in memory once for all processes, do they see each fit, and does
# it go when nobody uses it?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'SKIPPED: needs /proc/PID/maps' unless -r "/proc/$$/maps";
my $node = new_node('main', 'fsync = off', "dynamic_shared_memory_type = posix", 'restart_after_crash = on');
prepare_database($node);
my $terms = 60_000;
my $corpus = "SELECT string_agg('word' || i || 'x', ' ') AS text FROM generate_series(1, $terms) i GROUP BY i % 100";
owner_sql($node, q{
	SELECT jflow_create('f'); SELECT jflow_add('f', 'e', uses => 'TfidfVectorizer', replicas => 2)});
owner_sql($node, qq{SELECT jflow_fit('f', 'e', \$\$$corpus\$\$)});
start_flow($node, 'f');

# Segments of at least two megabytes (the statistics system has smaller ones) that a process has mapped, by their files.
sub segments
{
	my ($pid) = @_;
	my %files;
	for (split(/\n/, slurp_file("/proc/$pid/maps")))
	{
		my ($from, $to, $inode, $file) = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+)\s+(\S*PostgreSQL\.\d+.*)/ or next;
		$files{"$file $inode"} = 1 if hex($to) - hex($from) >= 2 * 1024 * 1024;
	}
	return sort keys %files;
}
sub replicas { return split(/\n/, $node->safe_psql('postgres', q{SELECT pid FROM jflow_stat_replicas WHERE state IN ('idle', 'busy') ORDER BY pid})) }

# Post until each replica has answered since now, so that each has the model.
sub use_model
{
	my $before = $node->safe_psql('postgres', q{SELECT jsonb_object_agg(pid, requests) FROM jflow_stat_replicas WHERE pid IS NOT NULL});

	$node->poll_query_until('postgres', qq{
		SELECT count(*) > 0 FROM jflow_post('/encode', array_fill('word1x word2x'::text, ARRAY[100]), 'f', request_size => 1);
		SELECT bool_and(requests > coalesce(('$before'::jsonb->>pid::text)::bigint, 0)) AND count(*) = 2
		FROM jflow_stat_replicas WHERE pid IS NOT NULL}, "t\nt") or die 'no replica answers';
	return;
}
use_model();
my @before = map { [ segments($_) ] } replicas();
is(scalar(@before), 2, 'two replicas');
is(scalar(@{ $before[0] }), 1, 'a replica has the model in one segment');
is_deeply($before[1], $before[0], 'the other one in the same');

# a session without replicas of its own
owner_sql($node, q{SELECT jflow_create('inline'); SELECT jflow_add('inline', 'e', uses => 'TfidfVectorizer', replicas => 0);
	SELECT jflow_fit('inline', 'e', $$SELECT 'alpha beta'$$)});
my $one = $node->background_psql('postgres');
my $two = $node->background_psql('postgres');
my $encode = q{SELECT sparse_embedding FROM jflow_post('/encode', ARRAY['alpha gamma'], 'inline');};
my $fitted = $one->query_safe($encode);
is($two->query_safe($encode), $fitted, 'sessions answer alike');
owner_sql($node, q{SELECT jflow_fit('inline', 'e', $$SELECT 'beta gamma delta'$$)});
my $new = $one->query_safe($encode);
isnt($new, $fitted, 'a fit is seen');
is($two->query_safe($encode), $new, 'by both');
$one->query_safe(q{BEGIN; SET LOCAL client_min_messages = error; SELECT jflow_fit('inline', 'e', $$SELECT 'alpha beta gamma'$$)});
isnt($one->query_safe($encode), $new, 'a fit is seen within its transaction');
is($two->query_safe($encode), $new, 'and there alone');
$one->query_safe('ROLLBACK');
is($one->query_safe($encode), $new, 'not after it was rolled back');
is($two->query_safe($encode), $new, 'nor elsewhere');
$one->quit;
is($two->query_safe($encode), $new, 'a session that leaves takes nothing away');
$two->quit;

# a replica that comes later
my ($first) = replicas();
$node->safe_psql('postgres', "SELECT pg_terminate_backend($first)");
$node->poll_query_until('postgres', "SELECT count(*) = 2 AND bool_and(pid <> $first) FROM jflow_stat_replicas WHERE state IN ('idle', 'busy')") or die;
use_model();
is_deeply([ map { segments($_) } replicas() ], [ $before[0][0], $before[0][0] ], 'a new replica has the same segment');

owner_sql($node, qq{SELECT jflow_fit('f', 'e', \$\$$corpus\$\$)});
use_model();
my @after = map { [ segments($_) ] } replicas();
is(scalar(@{ $after[0] }), 1, 'a fit anew: one segment');
is_deeply($after[1], $after[0], 'of both');
isnt($after[0][0], $before[0][0], 'another one');
my ($file) = split(/ /, $before[0][0]);
ok(!-e $file, 'the old one is gone');

($file) = split(/ /, $after[0][0]);
ok(-e $file, 'the new one is there');
owner_sql($node, q{SELECT jflow_stop('f')});
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM jflow_stat_replicas') or die;
ok(wait_gone($file), 'and goes with the last process');

sub wait_gone
{
	my ($path) = @_;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 unless -e $path;
		select(undef, undef, undef, 0.1);
	}
	return 0;
}

# a crash while it is attached
owner_sql($node, q{SELECT jflow_start('f')});
is($node->safe_psql('postgres', q{SELECT jflow_wait('f')}), 't', 'the flow runs again');
use_model();
my ($pid) = replicas();
kill 'KILL', $pid;
$node->poll_query_until('postgres', 'SELECT true') or die;
$node->poll_query_until('postgres', q{SELECT jflow_wait('f', '1s')}) or die;
use_model();
is(scalar(map { segments($_) } replicas()), 2, 'after a crash each replica has the model');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
