# Does a damaged index file end in an error or a right answer, never in a crash,
# and does jflow_pq_check say where the damage is?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use JflowIndex;

damage(
	method => 'pq',
	kinds => [qw(meta model centroids directory posting refine)],
	more => [qw(directory posting posting refine)],
	vector => '(SELECT array_agg(sin(i * j * 0.37 + j) + cos(i * 0.11 * j)) FROM generate_series(1, 16) j)::vector(16)',
	distance => '<->',
	table => sub {
		my ($name, $n) = @_;
		my $lists = $n % 2 ? 3 : 40;
		return "CREATE TABLE $name AS TABLE seed; CREATE INDEX ${name}_v ON $name USING pq (v vector_l2_ops, kind) WITH (lists = $lists);\n";
	},
	other => "SELECT jflow_pq_recall(''%t_v'', 5) IS NOT NULL");
done_testing();
