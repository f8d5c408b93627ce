# Does fitting need memory for the terms that it has seen, and not for each request?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'SKIPPED: needs /proc/PID/status' unless -r "/proc/$$/status";
my $node = new_node('main', 'fsync = off');
prepare_database($node);
owner_sql($node, q{SELECT jflow_create('f');
	SELECT jflow_add('f', 'e', uses => 'TfidfVectorizer', replicas => 0)});
my $session = $node->background_psql('postgres');
$session->query_safe('SET ROLE flow_owner');
my $pid = $session->query_safe('SELECT pg_backend_pid()');

# one document of 1,500 terms in each request
sub peak_after
{
	my ($requests) = @_;
	is($session->query_safe(qq{SELECT requests FROM jflow_post_query('/fit', 'SELECT i AS id,
		(SELECT string_agg(''term'' || (i * 7 + j) % 5000, '' '') FROM generate_series(1, 1500) j) AS text
		FROM generate_series(1, $requests) i', 'f', request_size => 1)}), $requests, "fitted in $requests requests");
	return slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : die;
}
my $few = peak_after(100);
my $many = peak_after(1600);
cmp_ok($many - $few, '<', 32 * 1024, '16 times as many requests take ' . ($many - $few) . ' kB more');
$session->quit;
$node->stop;
done_testing();
