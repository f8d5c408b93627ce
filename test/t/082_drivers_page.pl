# Do the programs of the page on drivers run as they stand there, and print what stands below them?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use JSON::PP;
use Jflow;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $jar = '/usr/share/java/postgresql.jar';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jflow'\nlisten_addresses = '127.0.0.1'");
$node->start;
prepare_database($node);
$node->safe_psql('postgres', 'GRANT CREATE ON DATABASE postgres TO flow_owner; CREATE ROLE web');
delete $ENV{PGDATABASE};
my %server = (PGHOST => $node->host, PGPORT => $node->port, PGUSER => 'flow_owner', PGDATABASE => 'postgres');

my $page = slurp_file("$ENV{TESTDIR}/../src/docs/drivers.md");
my @blocks;
my $section = '';
while ($page =~ /^(?:## ([^\n]*)|```(\w+)\n(.*?)^```)$/msg)
{
	if (defined $1) { $section = $1; }
	elsif ($2 eq 'text') { $blocks[-1]{output} = $3; }
	else { push @blocks, { section => $section, language => $2, code => $3 }; }
}
is_deeply([ map { "$_->{section}: $_->{language}" } @blocks ],
	[ ': sql', 'psycopg 3: python', 'psycopg 2: python', 'SQLAlchemy: python', 'node-postgres: js', 'JDBC: java',
		'PostgREST: http', 'PostgREST: http', 'PostGraphile: graphql', 'pgbouncer: ini' ], 'the page has its blocks');

sub runs { return eval { IPC::Run::run([@_], '<', \undef, '>', \my $out, '2>', \my $err) }; }
my $has_node = defined $ENV{JFLOW_NODE_PATH} && $ENV{JFLOW_NODE_PATH} ne '';
my %runners = (
	'psycopg 3' => [ sub { runs('/usr/bin/python3', '-c', 'import psycopg') }, 'p.py', '/usr/bin/python3' ],
	'psycopg 2' => [ sub { runs('/usr/bin/python3', '-c', 'import psycopg2') }, 'p.py', '/usr/bin/python3' ],
	'SQLAlchemy' => [ sub { runs('/usr/bin/python3', '-c', 'import sqlalchemy, psycopg2') }, 'p.py', '/usr/bin/python3' ],
	'node-postgres' => [ sub { $has_node }, 'p.js', 'node' ],
	'JDBC' => [ sub { -e $jar && runs('java', '--version') }, 'Articles.java', 'java', '-cp', $jar ]);
my $dir = PostgreSQL::Test::Utils::tempdir();

# Run a program of the page against a server, which may be a pooler.
sub run_program
{
	my ($name, $block, %where) = @_;
	my ($is_there, $file, @command) = @{ $runners{ $block->{section} } };
	unless ($is_there->())
	{
		diag("SKIPPED: $name: the driver is not installed");
		return;
	}
	unlink "$dir/$file";
	append_to_file("$dir/$file", $block->{code});
	local @ENV{ keys %where } = values %where;
	local $ENV{NODE_PATH} = $ENV{JFLOW_NODE_PATH} // '';
	local $ENV{JDBC_URL} = 'jdbc:postgresql://127.0.0.1:' . $where{PGPORT} . '/postgres?user=flow_owner';
	my ($out, $err) = ('', '');
	IPC::Run::run([ @command, "$dir/$file" ], '<', \undef, '>', \$out, '2>', \$err);
	is($out, $block->{output}, "$name: the program prints what the page says") or diag($err);
	return;
}

like(owner_sql($node, $blocks[0]{code}), qr/articles\nt$/, 'the flow is made');
run_program($_->{section}, $_, %server) for grep { $_->{output} && $runners{ $_->{section} } } @blocks;

# Requests as the layers send them: named arguments, in the types of the function.
sub call
{
	my ($function, $role, $read_only, %args) = @_;
	my %types = (docs => 'jsonb', k => 'int4');
	my $list = join(', ', map { my $value = ref $args{$_} ? encode_json($args{$_}) : $args{$_}; $value =~ s/'/''/g; qq{"$_" := '$value'::} . ($types{$_} // 'text') } sort keys %args);
	return $node->safe_psql('postgres', ($read_only ? 'BEGIN READ ONLY; ' : '') . qq{SET LOCAL ROLE $role; SELECT to_json("public"."$function"($list))})
	  if $read_only;
	return $node->safe_psql('postgres', qq{SET ROLE $role; SELECT to_json("public"."$function"($list))});
}

owner_sql($node, q{SELECT jflow_post('/clear', '{}'::jflow_doc[], 'articles'); SELECT jflow_grant('articles', 'web')});
my ($post, $get, $graphql) = grep { $_->{language} =~ /http|graphql/ } @blocks;
my ($path, $body) = $post->{code} =~ m{^POST /rpc/(\w+)\n\n(.*)}s;
my $answer = decode_json(call($path, 'web', 0, %{ decode_json($body) }));
is_deeply([ map { $_->{id} } @$answer ], [ '1', '2' ], 'PostgREST: a POST stores');
my ($name, $query) = $get->{code} =~ m{^GET /rpc/(\w+)\?(\S+)};
$answer = decode_json(call($name, 'web', 1, map { split /=/, $_, 2 } split /&/, $query));
is("$answer->[0]{text}\n", $get->{output}, 'PostgREST: a GET searches, in a read-only transaction');
my ($field, $arguments) = $graphql->{code} =~ /\{ (\w+)\((.*)\) \}/;
$field =~ s/([A-Z])/_\l$1/g;
$answer = decode_json(call($field, 'web', 1, $arguments =~ /(\w+): "?([^",]+)"?/g));
is("$answer->[0]{text}\n", $graphql->{output}, 'PostGraphile: a query searches');

# the same programs through a pooler
my ($pgbouncer) = grep { -x $_ } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin', '/usr/local/bin';
if ($pgbouncer)
{
	my $short = PostgreSQL::Test::Utils::tempdir_short();
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	append_to_file("$short/users", qq{"flow_owner" ""\n});
	append_to_file("$short/ini", "[databases]\n* = host=" . $node->host . ' port=' . $node->port . "\n$blocks[-1]{code}" .
		join("\n", 'listen_addr = 127.0.0.1', "listen_port = $port", "unix_socket_dir = $short", 'auth_type = trust', "auth_file = $short/users",
			'ignore_startup_parameters = extra_float_digits', "logfile = $short/log", "pidfile = $short/pid", '', ''));
	my $bouncer = IPC::Run::start([ $pgbouncer, "$short/ini" ], '<', \undef, '>', "$short/out", '2>&1');
	my $up = 0;
	for (1 .. 1000)
	{
		last if $up = runs('psql', '-XAtq', "host=127.0.0.1 port=$port user=flow_owner dbname=postgres", '-c', 'SELECT 1');
		select(undef, undef, undef, 0.02);
	}
	ok($up, 'pgbouncer runs') or diag(slurp_file("$short/out"));
	run_program("$_->{section} through pgbouncer", $_, %server, PGHOST => '127.0.0.1', PGPORT => $port)
	  for grep { $_->{output} && $runners{ $_->{section} } } @blocks;
	$bouncer->kill_kill;
}
else
{
	diag('SKIPPED: pgbouncer is not installed');
}
$node->stop;
done_testing();
