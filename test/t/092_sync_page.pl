# Do the snippets of the page on embeddings of a table run, and do what the text says?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
$node->safe_psql('postgres', 'GRANT CREATE ON DATABASE postgres TO flow_owner');
my $page = slurp_file("$ENV{TESTDIR}/../src/docs/embeddings.md");
my @snippets = $page =~ /^```sql\n(.*?)^```/msg;
is(scalar(@snippets), 6, 'the page has its snippets');
owner_sql($node, shift @snippets);

like(owner_sql($node, $snippets[0]), qr/^\d+$/m, 'the first statements run');
wait_state($node, q{SELECT jflow_sync_run('articles')}, 'the rows arrive');
like(owner_sql($node, $snippets[1]), qr/^1\|Roses\nPrune/m, 'the search finds the row');
is(owner_sql($node, $snippets[2]), "t\n2", 'and what it became');
like(owner_sql($node, $snippets[3]), qr/^articles\|following\|0\|0\|\n0$/m, 'the views');

# a single update arrives by itself
owner_sql($node, q{INSERT INTO article VALUES (5, 'Compost', 'Turn the compost.', 'en')});
wait_state($node, q{SELECT EXISTS (SELECT FROM jflow_data_flow_owner.articles_store WHERE id = '5')}, 'a row that is inserted arrives by itself');

# another model
is(owner_sql($node, $snippets[4]) =~ /^articles\|/m, 1, 'the store is filled anew');
wait_state($node, q{SELECT NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = 'articles_resync')}, 'and takes the place of the old one');
is(owner_sql($node, $snippets[1]), "2|Tools\nSharpen the shears before you prune roses.", 'which finds what it shall');
is($node->safe_psql('postgres', q{SELECT uses_with FROM jflow_executors WHERE name = 'encoder'}), '{"sublinear_tf": true}', 'by the new model');
$node->stop;
done_testing();
