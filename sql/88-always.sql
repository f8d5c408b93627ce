-- What applies the changes of another server writes to the catalog, too (FOR ALL TABLES),
-- and so does a session with session_replication_role = replica.  Both fire only triggers
-- that fire always, and the former none of statements, so ours are of rows.

DO $$
DECLARE
	item pg_catalog.record;
BEGIN
	FOR item IN
		SELECT t.tgrelid::pg_catalog.regclass AS relation, t.tgname AS name
		FROM pg_catalog.pg_trigger t
		WHERE t.tgfoid IN ('jflow.catalog_changed()'::pg_catalog.regprocedure, 'jflow.runtime_changed()'::pg_catalog.regprocedure)
	LOOP
		EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', item.relation, item.name);
	END LOOP;
END $$;
