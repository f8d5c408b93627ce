# Is what drivers send ever taken for something that it is not: an untyped list
# or JSON string for the text of one document?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = "$FindBin::RealBin/../drivers";
my $jar = '/usr/share/java/postgresql.jar';
my $node = PostgreSQL::Test::Cluster->new('main');
# whatever the environment says: from SQL_ASCII psycopg 3 gives texts as bytes
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jflow'\nlisten_addresses = '127.0.0.1'");
$node->start;
prepare_database($node);
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app');
$node->safe_psql('postgres', q{SET ROLE app; SELECT jflow_create('f'); SELECT jflow_add('f', 'e', replicas => 0)});
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
delete $ENV{PGDATABASE};

# Run a program that prints the lines of a test, as subtests of this one.
sub driver
{
	my ($name, $there, @command) = @_;
	unless ($there)
	{
		diag("SKIPPED: $name is not installed");
		return;
	}
	my ($out, $err) = ('', '');
	my $good = IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	my @lines = grep { /^(not )?ok / } split /\n/, $out;
	ok($good && $out =~ /^1\.\.(\d+)$/m && $1 == @lines, "$name: the program ran to its end") or diag("$out\n$err");
	for my $line (@lines)
	{
		$line =~ /^(not )?ok \d+ - (.*)/;
		ok(!$1, $2) or diag($out =~ /\Q$line\E\n(# answer: .*)/ ? $1 : '');
	}
	return;
}

sub runs { return IPC::Run::run([@_], '<', \undef, '>', \my $out, '2>', \my $err); }

for my $module ([ 'psycopg2', 'psycopg2' ], [ 'psycopg 3', 'psycopg' ], [ 'asyncpg', 'asyncpg' ])
{
	my ($name, $import) = @$module;
	(my $file = $name) =~ s/ //;
	driver($name, -x '/usr/bin/python3' && runs('/usr/bin/python3', '-c', "import $import"), '/usr/bin/python3', "$folder/${file}_cases.py");
}
driver('node-postgres', defined $ENV{JFLOW_NODE_PATH} && $ENV{JFLOW_NODE_PATH} ne '', 'env', "NODE_PATH=" . ($ENV{JFLOW_NODE_PATH} || ''),
	'node', "$folder/node_cases.js");
driver('JDBC', -e $jar && runs('java', '--version'), 'java', '-cp', $jar, "$folder/JdbcCases.java");

# and from psql, where a literal has no type either
my @literals = ("'words'", q{'{"text": "a"}'}, q{'[{"text": "a"}]'}, "'{a,b}'", "'{}'");
fails_with($node, "SET ROLE app; SELECT * FROM jflow_post('/x', $_, 'f')", '42725', qr/jflow_post/, "literal $_") for @literals;
$node->stop;
done_testing();
