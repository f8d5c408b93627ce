# Does a damaged index file end in an error or a right answer, never in a crash,
# and does jflow_inverted_check say where the damage is?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use JflowIndex;

damage(
	method => 'inverted',
	kinds => [qw(meta pending head docs map postings skips dictionary branch)],
	more => [qw(pending docs postings postings skips dictionary)],
	vector => q{format('{%s:%s,%s:%s,%s:0.5,%s:2}/2000', 1 + i % 3, 1 + i % 17, 4 + i % 16, (i % 11) - 5.5, 20 + i % 380, 400 + i)::sparsevec(2000)},
	distance => '<#>',
	table => sub {
		my ($name) = @_;
		return "CREATE TABLE $name AS SELECT * FROM seed WHERE id <= 1500; CREATE INDEX ${name}_v ON $name USING inverted (v sparsevec_ip_ops, kind); INSERT INTO $name SELECT * FROM seed WHERE id > 1500;\n";
	},
	other => "SELECT (SELECT count(*) FROM (SELECT id FROM %t ORDER BY v <#> ''{1999:1}/2000'') x) = count(*) FROM %t");
done_testing();
