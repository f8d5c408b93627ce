# When cursors that were left open keep all that an inverted index can retire, does an insert cost what it costs otherwise, and is all well behind them?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'autovacuum = off', 'shared_buffers = 16MB');
$node->safe_psql('postgres', q{SET client_min_messages = error; CREATE EXTENSION jflow CASCADE;
	CREATE TABLE t (id serial, v sparsevec(1000));
	CREATE INDEX t_v ON t USING inverted (v sparsevec_ip_ops)});
my $reader = $node->background_psql('postgres');
my $writer = $node->background_psql('postgres');
$reader->query_safe('SET enable_seqscan = off');
$reader->query_safe('BEGIN');

# each cursor keeps the list of rows that came last, and the segments that there are
my ($cursors, $retired, $full) = (0, 0, 0);
while ($full < 135 && $cursors < 1000)
{
	$writer->query_safe(q{INSERT INTO t (v) VALUES ('{1:1,2:3}/1000')});
	$reader->query_safe("DECLARE c$cursors CURSOR FOR SELECT id FROM t ORDER BY v <#> '{1:1}/1000'");
	$reader->query_safe("FETCH 1 FROM c$cursors");
	$writer->query_safe('VACUUM t');
	$retired = $writer->query_safe(q{SELECT retired FROM jflow_inverted_info('t_v')}) if $full == 0;
	$full++ if $retired >= 254;
	$cursors++;
}
cmp_ok($retired, '>=', 254, "$cursors cursors keep all that can be kept");

# rows of a page each
my $rows = q{INSERT INTO t (v) SELECT format('{%%s}/1000', string_agg(j || ':' || i, ','))::sparsevec FROM generate_series(1, %d) i, generate_series(1, 900) j GROUP BY i};
$writer->query_safe(sprintf($rows, 100));
my $plan = $writer->query_safe('EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ' . sprintf($rows, 200));
my ($hit) = $plan =~ /"Shared Hit Blocks": (\d+)/;
cmp_ok($hit, '<', 200 * 60, 'an insert does not try each time what cannot be done');
cmp_ok($hit, '>', 200, 'and something was counted');
my $all = $cursors + 300;
is($writer->query_safe(q{SELECT jflow_inverted_check('t_v')}), $all, 'the index has every row');

is($reader->query_safe(q{SELECT count(*) FROM (SELECT id FROM t ORDER BY v <#> '{1:1}/1000' LIMIT 10000) s}), $all, 'and a search finds it');
$reader->query_safe('COMMIT');
# the first makes room for the list that the second sorts in
$writer->query_safe('VACUUM t') for (1, 2);
is($writer->query_safe(q{SELECT retired || ' ' || pending FROM jflow_inverted_info('t_v')}), '0 0', 'nothing is kept when they are closed');
is($writer->query_safe(q{SELECT jflow_inverted_check('t_v')}), $all, 'and nothing is lost');
$reader->quit;
$writer->quit;
$node->stop;
done_testing();
