# Does every snippet of the page on models run, as who it says, and find what it says?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use JflowService;
use PostgreSQL::Test::Utils;
use Test::More;

start_service();
my $node = new_node('main', "log_statement = 'none'");
$node->safe_psql('postgres', q{SET client_min_messages = error; CREATE EXTENSION jflow CASCADE; CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app;
	SET ROLE app; CREATE TABLE article (id int PRIMARY KEY, body text);
	INSERT INTO article VALUES (1, 'search_query: how do I prune roses'), (2, repeat('Bees like lavender. ', 60)), (3, 'Roses roses roses.')});

my %places = ('http://localhost:11434/api/embed' => 'ollama?dim=8', 'http://localhost:9000/encode' => 'template?dim=8', 'http://localhost:8081/rerank' => 'tei',
	'https://api.openai.com/v1/embeddings' => 'openai?dim=768&key=sk-the-key');
my $page = slurp_file("$ENV{TESTDIR}/../src/docs/models.md");
my $all = '';
for my $snippet ($page =~ /^```sql\n(.*?)^```/msg)
{
	$snippet =~ s/\Q$_\E/service_url($places{$_})/e for keys %places;
	my $role = $snippet =~ /^-- as a superuser/ ? 'postgres' : 'app';
	my ($ret, $out, $err) = $node->psql('postgres', "SET client_min_messages = warning; SET ROLE $role;\n$snippet", on_error_stop => 1);
	is("$ret $err", '0 ', 'a snippet runs') or diag($snippet);
	$all .= $out;
}
like($all, qr/^3\|0$/m, 'all articles are indexed');
like($all, qr/^1#0\|/m, 'the nearest chunk is found');
like($all, qr/\|768$/m, 'vectors of a hosted service');
like($all, qr/^3#0\|0\.\d+\n/m, 'the best by rank');
like($all, qr/^encoder\|calls\|[1-9]/m, 'calls are counted');
like($all, qr/^reranker\|calls\|[1-9]/m, 'also the ranker\'s');
$node->stop;
done_testing();
