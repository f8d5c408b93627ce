# Does every snippet of the tutorial run, and say what the text says?  Does the
# README's first example, as it stands there?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$ENV{TESTDIR}/../src";
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jflow'");
$node->start;

my $page = slurp_file("$top/docs/tutorial.md");
my @snippets = $page =~ /^```sql\n(.*?)^```/msg;
cmp_ok(scalar(@snippets), '>', 10, 'the tutorial has snippets');
my $script = join("\n", "SET client_min_messages = warning;", @snippets);
chdir $top or die "could not change to $top: $!";
my ($stdout, $stderr) = run_command([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', 'SELECT 1' ]);
my $file = PostgreSQL::Test::Utils::tempdir() . '/tutorial.sql';
append_to_file($file, $script);
($stdout, $stderr) = run_command([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ]);
is(join("\n", grep { !/INFO: / } split(/\n/, $stderr)), '', 'the snippets run');
like($stderr, qr/INFO: .*DONE/, 'the progress of a post is shown');
like($stdout, qr/^fast_executor\|1\|1\nslow_executor\|2\|2$/m, 'an executor has two replicas');
is(() = $stdout =~ /^40\|4\|0$/mg, 2, 'all documents are posted, with one replica and with two');
like($stdout, qr/"words": 5/, 'a function of one\'s own');
like($stdout, qr/^workspace\.search_pqlite_executor_0\|40$/m, 'one shard has all documents');
like($stdout, qr/^workspace\.search_pqlite_executor_0\|t\nworkspace\.search_pqlite_executor_1\|t$/m, 'two shards have some each');
like($stdout, qr/^space\/\d+\|0\.\d+\|.*telescope/mi, 'a search finds what it should');
like($stdout, qr/^1\|Cannot log in\n3\|The login page is blank$/m, 'a table that is there is searched');
is(() = $stdout =~ /^40\|40$/mg, 2, 'each document is there once, also when posted again');
like($stdout, qr/^(cooking|cycling|music|garden\w*|\w+)\/\d+\|(?!space)\w+\|[01]\.\d+$/m, 'a filter keeps what it matches');
like($stdout, qr{^space/1\|https://example.org/1$}m, 'a changed document is fetched');

# the README, in a database of its own
$node->safe_psql('postgres', 'CREATE DATABASE readme');
my $readme = slurp_file("$top/README.md");
my ($example, $shown) = $readme =~ /^```sql\n(.*?)^```\n+^```text\n(.*?)^```/ms;
my $sql = PostgreSQL::Test::Utils::tempdir() . '/readme.sql';
append_to_file($sql, $example);
($stdout, $stderr) = run_command([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('readme'), '-f', $sql ]);
is(join("\n", grep { !/NOTICE: .*vector/ } split(/\n/, $stderr)), '', 'the first example of the README runs');
s/\s+\n/\n/g for $stdout, $shown;
like($stdout, qr/\Q$shown\E/, 'and answers what is shown');

$node->stop;
done_testing();
