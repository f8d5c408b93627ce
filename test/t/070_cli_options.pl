# Does the client take options, environment and service files as psql does, say
# what is wrong, and end with psql's exit codes?
use strict;
use warnings;
use FindBin;
use IPC::Run;
use lib $FindBin::RealBin;
use JflowCli;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
# the client's texts are UTF-8, whatever the environment says
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jflow'");
$node->start;

# without a server
program_help_ok('jflow');
program_version_ok('jflow');
program_options_handling_ok('jflow');
for my $command (qw(post search explain status top plot apply sync metrics version))
{
	result_is([ client($node, '', $command, '--help') ], 0, qr/^jflow $command: .*Usage:.*Connection options:/s, qr/^$/, "help of $command");
	result_is([ client($node, '', 'help', $command) ], 0, qr/^jflow $command: /, qr/^$/, "help $command");
}
result_is([ client($node, '') ], 1, qr/^$/, qr/Commands:/, 'no command');
result_is([ client($node, '', 'pots') ], 1, qr/^$/, qr/unknown command "pots"\nTry "jflow --help"/, 'a command that is none');
result_is([ client($node, '', 'post', '--flwo', 'x') ], 1, qr/^$/, qr/unrecognized option "--flwo"\nTry "jflow post --help"/, 'an option that is none');
result_is([ client($node, '', 'post', '/x', '--flow') ], 1, undef, qr/option "--flow" wants a value/, 'an option without value');
result_is([ client($node, '', 'search', '-k', 'many', 'words') ], 1, undef, qr/"--limit" wants a number from 1 to/, 'a number that is none');
result_is([ client($node, '', 'search', '-k0', 'words') ], 1, undef, qr/wants a number/, 'a number that is too small');
result_is([ client($node, '', 'post') ], 1, undef, qr/an endpoint is missing/, 'post without endpoint');
result_is([ client($node, '', 'search') ], 1, undef, qr/words to search for are missing/, 'search without words');

# completion and the man page know the same commands and options
SKIP:
{
	my $source = $ENV{JFLOW_MONITORING} ? "$ENV{JFLOW_MONITORING}/../.." : '';
	skip 'SKIPPED: completion, since JFLOW_MONITORING does not tell where the source is', 1 if $source eq '' || system('command -v bash >/dev/null 2>&1') != 0;
	my $bash = "$source/contrib/completion/jflow.bash";
	my $zsh = read_file("$source/contrib/completion/_jflow");
	my $man = read_file("$source/docs/jflow.1");
	my $completed = sub {
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'bash', '-c', 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _jflow; printf "%s\n" "${COMPREPLY[@]}"', $bash, @_ ],
			'<', \undef, '>', \$out, '2>', \$err);
		return join ' ', sort split(/\n/, $out), ($err ne '' ? $err : ());
	};
	my $help = (client($node, '', 'help'))[1];
	my @commands = $help =~ /^  (\w+) +\w/mg;
	is($completed->('jflow', ''), join(' ', sort @commands), 'bash completes the commands');
	is(join(' ', sort $zsh =~ /^\t\t'(\w+):/mg), join(' ', sort @commands), 'zsh, too');
	is(join(' ', sort $man =~ /^\.Ss (\w+)/mg), join(' ', 'Options', sort @commands), 'and the man page has each');
	for my $command (@commands)
	{
		my $text = (client($node, '', 'help', $command))[1];
		my @all = sort $text =~ /(--[a-z-]+)/g;
		my ($own) = $text =~ /^Options:\n(.*?)\n\n/ms;
		my @own = sort(($own // '') =~ /^ +(?:-\S, )?(--[a-z-]+)/mg);
		is($completed->('jflow', $command, '--'), join(' ', @all), "bash completes the options of $command") if $command ne 'help';
		my ($branch) = $zsh =~ /^\t\t$command\) (.*?);;/ms;
		is(join(' ', sort(($branch // '') =~ /(--[a-z-]+)/g, ($branch // '') =~ /\$flow/ ? '--flow' : ())), join(' ', @own), "zsh those of $command") if @own;
		my ($section) = $man =~ /^\.Ss $command\b(.*?)(?=^\.S[sh])/ms;
		is(join(' ', grep { my $name = substr $_, 2; $section !~ /Fl Fl \Q$name\E\b/ } @own), '', "the man page tells of each of $command");
	}
	is($completed->('jflow', 'sync', ''), 'errors pause resume resync retry run', 'bash completes what sync can do');
	like($man, qr/^\.Ss sync .*run \| pause \| resume \| retry \| resync \| errors/m, 'the man page says it');
}

# no connection
result_is([ client($node, '', 'status', '-h', '/nowhere') ], 2, qr/^$/, qr/^jflow: error: connection to server .*failed/, 'no server');
result_is([ client($node, '', 'status', '-d', 'nothing') ], 2, qr/^$/, qr/database "nothing" does not exist/, 'no database');

# no extension
result_is([ client($node, '', 'status') ], 3, qr/^$/, qr/"jflow" is not in the database "postgres"\nHINT:  Use CREATE EXTENSION/, 'no extension');
result_is([ client($node, '', 'version') ], 0, qr/^jflow +\d.*^libpq .*^PostgreSQL .*^extension  not installed/sm, qr/^$/, 'version without it');

$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE SCHEMA "odd Schema";
	CREATE EXTENSION vector SCHEMA "odd Schema";
	CREATE EXTENSION jflow SCHEMA "odd Schema";
	SET search_path = "odd Schema";
	SELECT jflow_create('one');
	SELECT jflow_add('one', 'e', replicas => 0);
	SELECT jflow_create('two');
	SELECT jflow_add('two', 'f', replicas => 2);
	CREATE ROLE nobody LOGIN;
	GRANT USAGE ON SCHEMA "odd Schema" TO nobody;
	CREATE FUNCTION public.count(int8) RETURNS text LANGUAGE sql AS $$SELECT 'trap'$$;
});

# status, wherever the extension is
result_is([ client($node, '', 'version') ], 0, qr/^extension  0\.1\.0$/m, qr/^$/, 'version');
my ($code, $out, $err) = client($node, '', 'status');
is($code, 0, 'status');
like($out, qr/^flow │ executor │ state   │ wanted .*^one  │ e        │ stopped │      0.*^two  │ f  /sm, 'a table of executors');
result_is([ client($node, '', 'status', '-f', 'two') ], 0, qr/two/, qr/^$/, 'status of a flow');
unlike((client($node, '', 'status', '--flow=two'))[1], qr/one/, 'and of no other');
result_is([ client($node, '', 'status', '-f', 'three') ], 3, undef, qr/flow "three" does not exist/, 'status of none');
like((client($node, '', 'status', '--json'))[1], qr/^\{.*"flow": "one".*\}\n\{.*"flow": "two".*\}\n$/, 'a JSON object a line');
like((client($node, '', 'status', '-c'))[1], qr/shared_preload_libraries|preload/, 'what limits the server');

# options in front of the command and behind it, conninfo strings, services
result_is([ client($node, '', '-U', 'nobody', 'status') ], 0, qr/^flow.*\n.*\n$/, qr/^$/, 'another user, who sees nothing');
result_is([ client($node, '', 'status', '-Unobody', '-dpostgres') ], 0, qr/^flow.*\n.*\n$/, qr/^$/, 'options behind the command');
result_is([ client($node, '', 'version', '-d', "user=nobody dbname=postgres connect_timeout=5") ], 0, qr/extension/, qr/^$/, 'a connection string');
write_file("${PostgreSQL::Test::Utils::tmp_check}/services", "[mine]\nuser=nobody\ndbname=nothing\n");
result_is([ client($node, { PGSERVICEFILE => "${PostgreSQL::Test::Utils::tmp_check}/services", PGDATABASE => undef }, 'status', '-d', 'service=mine') ],
	2, undef, qr/database "nothing" does not exist/, 'a service file');

# a password that is missing is not asked for where there is no terminal, or never
my $hba = $node->data_dir . '/pg_hba.conf';
my $trusted = read_file($hba);
write_file($hba, "local all nobody scram-sha-256\n$trusted");
$node->safe_psql('postgres', q{SET password_encryption = 'scram-sha-256'; ALTER ROLE nobody PASSWORD 'secret'});
$node->reload;
result_is([ client($node, '', '-w', '-U', 'nobody', 'status') ], 2, undef, qr/no password supplied/, 'no password');
result_is([ client($node, { PGPASSWORD => 'secret' }, '-U', 'nobody', 'status') ], 0, qr/^flow/, qr/^$/, 'a password from the environment');

# what the server says is shown whole
result_is([ client($node, '', 'search', '-f', 'nix', 'words') ], 3, qr/^$/, qr/^jflow: ERROR:  42704: flow "nix" does not exist/, 'an error with its SQLSTATE');
result_is([ client($node, '', 'search', 'words') ], 3, qr/^$/, qr/^jflow: ERROR:  \w{5}: .*^(HINT|DETAIL):  /ms, 'an error with its hint');

$node->stop;
done_testing();
