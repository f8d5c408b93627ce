-- That the distances of the operator classes are pgvector's is checked like its types: C code calls them
-- for whoever uses an index.

DO $$
DECLARE
	forged pg_catalog.text;
BEGIN
	SELECT o.what INTO forged
	FROM (SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass AS class, a.amopopr AS oid,
				a.amopopr::pg_catalog.regoperator::pg_catalog.text AS what
			FROM pg_catalog.pg_amop a JOIN pg_catalog.pg_am m ON m.oid = a.amopmethod
			WHERE m.amname IN ('pq', 'inverted') AND a.amoppurpose = 'o'
		UNION ALL
		SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.amproc::pg_catalog.oid,
				p.amproc::pg_catalog.oid::pg_catalog.regprocedure::pg_catalog.text
			FROM pg_catalog.pg_amproc p JOIN pg_catalog.pg_opfamily f ON f.oid = p.amprocfamily
				JOIN pg_catalog.pg_am m ON m.oid = f.opfmethod
			WHERE m.amname IN ('pq', 'inverted') AND p.amprocnum = 1) o
	WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON d.refobjid = e.oid
		WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e'
			AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND e.extname = 'vector')
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_object_definition',
			MESSAGE = pg_catalog.format('%s is not that of extension "vector"', forged),
			HINT = 'Drop it from the schema that jflow is created in.';
	END IF;
END $$;
