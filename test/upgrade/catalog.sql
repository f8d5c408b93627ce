-- All that the extension jflow has made, as text that holds no OIDs: an extension that
-- was updated must not differ from a new one.
SET search_path = pg_catalog;
WITH member AS (SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
	WHERE e.extname = 'jflow' AND d.deptype = 'e'),
relation AS (SELECT c.* FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid)
SELECT * FROM (
	SELECT 'object' AS kind, pg_describe_object(classid, objid, 0) AS name, obj_description(objid, (SELECT relname FROM pg_class WHERE oid = classid)) AS what FROM member
	UNION ALL SELECT 'extension', extname, format('%s %s %s', extrelocatable, n.nspname, obj_description(e.oid, 'pg_extension')) || ' ' ||
		(SELECT string_agg(format('%s: %s', c::regclass, w), ', ' ORDER BY c::regclass::text) FROM unnest(extconfig, extcondition) x(c, w))
		FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'jflow'
	UNION ALL SELECT 'function', p.oid::regprocedure::text, CASE WHEN prokind = 'a' THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END || coalesce(proacl::text, '')
		FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	UNION ALL SELECT 'relation', r.oid::regclass::text, format('%s %s %s %s', relkind, relpersistence, reloptions, relacl) || coalesce(pg_get_viewdef(r.oid), '')
		FROM relation r WHERE relkind <> 'c' OR true
	UNION ALL SELECT 'column', format('%s.%s', a.attrelid::regclass, attname), format('%s %s %s %s %s', attnum, format_type(atttypid, atttypmod), attnotnull,
		pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
		FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE attnum > 0 AND NOT attisdropped
	UNION ALL SELECT 'constraint', format('%s on %s', conname, conrelid::regclass), pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN relation r ON r.oid = c.conrelid
	UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index x JOIN relation r ON r.oid = x.indrelid
	UNION ALL SELECT 'trigger', t.tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid WHERE NOT tgisinternal
	UNION ALL SELECT 'policy', format('%s on %s', polname, polrelid::regclass), pg_get_expr(polqual, polrelid) FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
	UNION ALL SELECT 'type', t.oid::regtype::text, format('%s %s %s', typtype, typcategory, typacl) FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
	UNION ALL SELECT 'schema', n.nspname, n.nspacl::text FROM pg_namespace n JOIN member m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
	UNION ALL SELECT 'cast', format('%s AS %s', castsource::regtype, casttarget::regtype), format('%s %s %s', castfunc::regprocedure, castcontext, castmethod)
		FROM pg_cast c JOIN member m ON m.classid = 'pg_cast'::regclass AND m.objid = c.oid
	UNION ALL SELECT 'access method', amname, amhandler::text FROM pg_am a JOIN member m ON m.classid = 'pg_am'::regclass AND m.objid = a.oid
	UNION ALL SELECT 'operator class', format('%s USING %s', opcname, amname), format('%s %s %s %s', opcintype::regtype, opfname, opcdefault, opckeytype::regtype)
		FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod JOIN pg_opfamily f ON f.oid = opcfamily WHERE amname IN ('pq', 'inverted')
	UNION ALL SELECT 'operator of a family', format('%s USING %s %s %s', opfname, amname, amopstrategy, amopopr::regoperator), format('%s %s', amoppurpose, s.opfname2)
		FROM pg_amop o JOIN pg_opfamily f ON f.oid = amopfamily JOIN pg_am a ON a.oid = opfmethod
		LEFT JOIN LATERAL (SELECT opfname AS opfname2 FROM pg_opfamily WHERE oid = amopsortfamily) s ON true WHERE amname IN ('pq', 'inverted')
	UNION ALL SELECT 'function of a family', format('%s USING %s %s %s %s', opfname, amname, amprocnum, amproclefttype::regtype, amprocrighttype::regtype), amproc::regprocedure::text
		FROM pg_amproc p JOIN pg_opfamily f ON f.oid = amprocfamily JOIN pg_am a ON a.oid = opfmethod WHERE amname IN ('pq', 'inverted')
	UNION ALL SELECT 'wrapper', fdwname, format('%s %s %s', fdwhandler::regproc, fdwvalidator::regproc, fdwacl)
		FROM pg_foreign_data_wrapper w JOIN member m ON m.classid = 'pg_foreign_data_wrapper'::regclass AND m.objid = w.oid
	UNION ALL SELECT 'row', 'class ' || class, c::text FROM jflow.class c WHERE builtin) all_of_it
ORDER BY 1, 2, 3;
