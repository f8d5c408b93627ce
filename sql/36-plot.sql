CREATE FUNCTION @extschema@.jflow_plot(
		flow pg_catalog.text, format pg_catalog.text DEFAULT 'mermaid')
	RETURNS pg_catalog.text
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;

