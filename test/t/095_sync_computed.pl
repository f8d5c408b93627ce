# Does a sync see what a column that is computed when it is read is made of, and refuse ids that may be NULL?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
if ($node->safe_psql('postgres', 'SHOW server_version_num') < 180000)
{
	$node->stop;
	plan skip_all => 'virtual columns and unchecked NOT NULL are of version 18';
}
prepare_database($node);
$node->safe_psql('postgres', 'GRANT CREATE ON SCHEMA public TO flow_owner');
owner_sql($node, q{
	CREATE FUNCTION keep(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT docs';
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'keeper', uses => 'public.keep');
	CREATE TABLE item (id int PRIMARY KEY, a text, b text, other text, loud text GENERATED ALWAYS AS (upper(a || b)) VIRTUAL);
	INSERT INTO item VALUES (1, 'a', 'b', 'c'), (2, 'a', 'b', 'c'), (3, 'a', 'b', 'c');
	SELECT jflow_sync('s', 'f', 'item', '{"text": "loud"}');
	UPDATE item SET a = 'new' WHERE id = 1;
	UPDATE item SET b = 'new' WHERE id = 2;
	UPDATE item SET other = 'new' WHERE id = 3});
is($node->safe_psql('postgres', 'SELECT key FROM jflow.sync_queue ORDER BY key'), "1\n2", 'what the column is made of is watched');

owner_sql($node, q{
	SELECT jflow_unsync('s');
	CREATE TABLE maybe (id text UNIQUE, text text);
	INSERT INTO maybe VALUES (NULL, 'a'), (NULL, 'b');
	ALTER TABLE maybe ADD CONSTRAINT present NOT NULL id NOT VALID});
my ($stdout, $stderr);
$node->psql('postgres', q{SET ROLE flow_owner; SELECT jflow_sync('s', 'f', 'maybe', '{"text": "text"}', id => 'id')}, stderr => \$stderr);
like($stderr, qr/column "id" of table "maybe" cannot be the id of documents/, 'an id that may be NULL is refused');
owner_sql($node, q{
	DELETE FROM maybe;
	ALTER TABLE maybe VALIDATE CONSTRAINT present;
	SELECT jflow_sync('s', 'f', 'maybe', '{"text": "text"}', id => 'id')});
$node->stop;
done_testing();
