# Does every object of the extension say what it is, and is docs/objects.md made of
# what they say?  (JFLOW_OBJECTS=FILE writes the page anew.)
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$ENV{TESTDIR}/../src";
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION jflow CASCADE');

# What belongs to the extension, but row types and array types, which have no word of their own.
my $members = q{
	SELECT d.classid, d.objid, d.objid::int8 AS n FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'jflow'
		AND d.classid <> 'pg_operator'::regclass
		AND NOT (d.classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
			WHERE t.oid = d.objid AND (t.typelem <> 0 OR c.relkind <> 'c')))};

is($node->safe_psql('postgres', qq{
	SELECT pg_describe_object(classid, objid, 0) FROM ($members) m
	WHERE obj_description(objid, classid::regclass::name) IS NULL ORDER BY 1}),
	'', 'every object has a comment');
is($node->safe_psql('postgres', qq{
	SELECT c.relname || '.' || a.attname
	FROM ($members) m JOIN pg_class c ON c.oid = CASE WHEN m.classid = 'pg_class'::regclass THEN m.objid
			ELSE (SELECT typrelid FROM pg_type WHERE oid = m.objid AND m.classid = 'pg_type'::regclass) END
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relkind IN ('v', 'c') AND col_description(c.oid, a.attnum) IS NULL ORDER BY 1}),
	'', 'every column of a view and of a type has one');
is($node->safe_psql('postgres', qq{
	SELECT pg_describe_object(classid, objid, 0) FROM ($members) m
	WHERE obj_description(objid, classid::regclass::name) ~ '^[[:space:]]|[.[:space:]]\$|\\|'}),
	'', 'a comment is a phrase');

my $page = "# Objects\n\nWhat `\\dx+ jflow` lists, as its comments say it. [reference.md](reference.md) tells more.\n"
  . "This page is made by `test/t/081_objects.pl`.\n";

sub table
{
	my ($title, $head, $query) = @_;
	my $rows = $node->safe_psql('postgres', $query);

	$page .= "\n$title\n\n| $head | |\n| --- | --- |\n" . join('', map { "| $_ |\n" } split(/\n/, $rows));
}

table('## Functions', 'function', q{
	SELECT format('`%s(%s)`', p.proname, pg_get_function_identity_arguments(p.oid)) || ' | ' || obj_description(p.oid, 'pg_proc')
	FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.classid = 'pg_proc'::regclass AND e.extname = 'jflow' AND p.pronamespace = 'public'::regnamespace
	ORDER BY p.proname COLLATE "C", obj_description(p.oid, 'pg_proc') COLLATE "C"});
for my $relation (split(/\n/, $node->safe_psql('postgres', q{
	SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'c') AND c.relname LIKE 'jflow%'
	ORDER BY c.relkind = 'v', c.relname COLLATE "C"})))
{
	my $what = $node->safe_psql('postgres', qq{
		SELECT CASE relkind WHEN 'v' THEN 'View' ELSE 'Type' END || ' `$relation`: ' ||
			CASE relkind WHEN 'v' THEN obj_description(oid, 'pg_class') ELSE obj_description(reltype, 'pg_type') END
		FROM pg_class WHERE oid = '$relation'::regclass});

	table("## $what", 'column | type', qq{
		SELECT format('`%s` | `%s` | ', attname, format_type(atttypid, atttypmod)) || col_description(attrelid, attnum)
		FROM pg_attribute WHERE attrelid = '$relation'::regclass AND attnum > 0 ORDER BY attnum});
}
table('## The catalog, schema `jflow`', 'table', q{
	SELECT format('`%s` | ', c.relname) || obj_description(c.oid, 'pg_class')
	FROM pg_class c WHERE c.relnamespace = 'jflow'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY c.relname COLLATE "C"});
$page =~ s/^\| (column \| type) \| \|\n\| --- \| --- \|$/| $1 | |\n| --- | --- | --- |/mg;
if ($ENV{JFLOW_OBJECTS})
{
	open(my $file, '>', $ENV{JFLOW_OBJECTS}) or die "could not write $ENV{JFLOW_OBJECTS}: $!";
	print $file $page;
	close($file);
}
is(slurp_file("$top/docs/objects.md"), $page, 'docs/objects.md is made of the comments');

$node->stop;
done_testing();
