# Does a post of a million rows through replicas need no more memory than a
# small one, neither in the gateway, nor in a replica, nor between them?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'jflow.memory_limit = 64MB', 'fsync = off');
prepare_database($node);
owner_sql($node, q{SELECT jflow_create('f');
	SELECT jflow_add('f', 'a', uses => 'noop', replicas => 2);
	SELECT jflow_add('f', 'b', uses => 'BaseExecutor', replicas => 2)});
start_flow($node, 'f');

# private memory of a process, in kB
sub private
{
	my ($pid) = @_;
	my $sum = 0;
	for my $line (split /\n/, slurp_file("/proc/$pid/smaps_rollup"))
	{
		$sum += $1 if $line =~ /^Private_(?:Dirty|Clean):\s+(\d+) kB/;
	}
	return $sum;
}
plan skip_all => 'SKIPPED: needs /proc/PID/smaps_rollup' unless -r "/proc/$$/smaps_rollup";

my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $post = sub { $session->query_safe("SELECT docs, failed FROM jflow_post_query('/x',
	'SELECT i AS id, ''some words of text'' AS text FROM generate_series(1, $_[0]) i', 'f')") };
is($post->(20000), '20000|0', 'a small post');
my %before = map { $_ => private($_) } $pid, running_pids($node);
is($post->(1000000), '1000000|0', 'a large post');
for my $p (sort keys %before)
{
	my $grown = private($p) - $before{$p};
	cmp_ok($grown, '<', 16 * 1024, ($p == $pid ? 'the gateway' : 'a replica') . " has grown by $grown kB");
}
cmp_ok($node->safe_psql('postgres', 'SELECT peak FROM jflow_memory'), '<', 128 * 1024 * 1024, 'payload memory stayed below 128 MB');

# an answer of that size is stored by the executor of set-returning functions, in a file
is($session->query_safe(q{SELECT count(*), count(DISTINCT id) FROM jflow_post('/x',
	(SELECT array_agg(jflow_doc(id => i::text)) FROM generate_series(1, 100000) i), 'f')}), '100000|100000', 'every document once');
# and in order
is($session->query_safe(q{SELECT bool_and(id::int = n) FROM (SELECT id, row_number() OVER () AS n FROM jflow_post('/x',
	(SELECT array_agg(jflow_doc(id => i::text)) FROM generate_series(1, 50000) i), 'f', request_size => 7)) x}), 't', 'in the order of the query');
is($session->query_safe(q{SELECT count(DISTINCT id) FROM jflow_post('/x',
	(SELECT array_agg(jflow_doc(id => i::text)) FROM generate_series(1, 50000) i), 'f', request_size => 7, ordered => false)}), '50000', 'all of them without order, too');
$session->quit;
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
