# Does a gateway keep what requests have told, or is its memory flat however many
# notices and failed requests there are?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'SKIPPED: needs /proc/PID/status' unless -r "/proc/$$/status";
my $node = new_node('main', 'fsync = off', 'log_min_messages = fatal');
prepare_database($node);
owner_sql($node, q{
	CREATE FUNCTION talk(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1..20 LOOP RAISE NOTICE 'one of many'; END LOOP;
		IF parameters ? 'fail' THEN RAISE EXCEPTION 'as asked'; END IF;
		RETURN NULL;
	END $$;
	SELECT jflow_create('f'); SELECT jflow_add('f', 'e', uses => 'talk')});
start_flow($node, 'f');
my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SET client_min_messages = error; SELECT pg_backend_pid()');

sub peak_after
{
	my ($requests, $parameters, $answers) = @_;
	is($session->query_safe(qq{SELECT count(*) FROM jflow_post('/x', array_fill('a'::text, ARRAY[$requests]), 'f',
		parameters => '$parameters', continue_on_error => true, request_size => 1)}), $answers, "$requests requests with parameters $parameters");
	return slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : die;
}
for my $parameters ('{}', '{"fail": true}')
{
	my $few = peak_after(200, $parameters, $parameters eq '{}' ? 200 : 0);
	my $many = peak_after(3000, $parameters, $parameters eq '{}' ? 3000 : 0);
	cmp_ok($many - $few, '<', 16 * 1024, '15 times as many requests take ' . ($many - $few) . ' kB more');
}
$session->quit;
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
