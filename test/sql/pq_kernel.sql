-- Do the inner loops agree with their portable forms, and does k-means cluster?
SELECT jflow_pq_kernels();
SELECT jflow_pq_kmeans();
SELECT jflow_version() ~ '^jflow [0-9.]+ \((portable|avx2|avx512|neon)\)$' AS kernels_shown;

-- the operator classes are complete, and there is one for each type and metric
SELECT opcname, opcintype::regtype, opcdefault, amvalidate(c.oid)
FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'pq' ORDER BY opcname;
SELECT amopfamily::regclass IS NOT NULL, count(*) FROM pg_amop JOIN pg_am a ON a.oid = amopmethod
WHERE amname = 'pq' AND amoppurpose = 'o' GROUP BY 1;

-- what the access method can and cannot do
SELECT name, pg_indexam_has_property(oid, name) FROM pg_am,
	unnest('{can_order,can_unique,can_multi_col,can_exclude,can_include}'::text[]) name
WHERE amname = 'pq' ORDER BY name;
