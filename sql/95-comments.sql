-- What every object is, for \d+ and \df+ in psql; docs/objects.md is made of it.

COMMENT ON SCHEMA jflow IS 'catalog and inner functions of the extension jflow';

-- documents
COMMENT ON TYPE @extschema@.jflow_doc IS 'a document, or a chunk of one';
COMMENT ON COLUMN @extschema@.jflow_doc.id IS 'names the document; one without it gets a UUID';
COMMENT ON COLUMN @extschema@.jflow_doc.text IS 'what it says';
COMMENT ON COLUMN @extschema@.jflow_doc.blob IS 'its bytes, where it is no text';
COMMENT ON COLUMN @extschema@.jflow_doc.uri IS 'where it is from';
COMMENT ON COLUMN @extschema@.jflow_doc.mime_type IS 'what kind of content it is';
COMMENT ON COLUMN @extschema@.jflow_doc.tags IS 'an object of whatever else is known of it';
COMMENT ON COLUMN @extschema@.jflow_doc.embedding IS 'its dense vector';
COMMENT ON COLUMN @extschema@.jflow_doc.sparse_embedding IS 'its sparse vector';
COMMENT ON COLUMN @extschema@.jflow_doc.parent_id IS 'the document that it is a chunk of';
COMMENT ON COLUMN @extschema@.jflow_doc.granularity IS 'how deep it lies below a whole document, which has 0';
COMMENT ON COLUMN @extschema@.jflow_doc.scores IS 'an object of named scores';
COMMENT ON COLUMN @extschema@.jflow_doc.weight IS 'how much it counts';
COMMENT ON COLUMN @extschema@.jflow_doc.matches IS 'what a search found for it, best first';
COMMENT ON TYPE @extschema@.jflow_match IS 'a stored document that a search found';
COMMENT ON COLUMN @extschema@.jflow_match.id IS 'the id of the document';
COMMENT ON COLUMN @extschema@.jflow_match.score IS 'its distance: smaller is nearer';
COMMENT ON COLUMN @extschema@.jflow_match.text IS 'its text';
COMMENT ON COLUMN @extschema@.jflow_match.uri IS 'its uri';
COMMENT ON COLUMN @extschema@.jflow_match.tags IS 'its tags';
COMMENT ON FUNCTION @extschema@.jflow_doc IS 'build a document; every argument may be left out';
COMMENT ON FUNCTION jflow.doc_to_jsonb IS 'cast of a document to JSON';
COMMENT ON FUNCTION jflow.jsonb_to_doc IS 'cast of a JSON object to a document';
COMMENT ON FUNCTION jflow.jsonb_to_docs IS 'cast of a JSON array of objects to documents';
COMMENT ON FUNCTION jflow.match_to_jsonb IS 'cast of a match to JSON';
COMMENT ON FUNCTION jflow.jsonb_to_match IS 'cast of a JSON object to a match';
COMMENT ON CAST (@extschema@.jflow_doc AS pg_catalog.jsonb) IS 'a document as a JSON object, without attributes that are NULL';
COMMENT ON CAST (pg_catalog.jsonb AS @extschema@.jflow_doc) IS 'a JSON object as a document';
COMMENT ON CAST (pg_catalog.jsonb AS @extschema@.jflow_doc[]) IS 'a JSON array of objects, or one object, as documents';
COMMENT ON CAST (@extschema@.jflow_match AS pg_catalog.jsonb) IS 'a match as a JSON object';
COMMENT ON CAST (pg_catalog.jsonb AS @extschema@.jflow_match) IS 'a JSON object as a match';
COMMENT ON FUNCTION @extschema@.jflow_matches_filter IS 'whether a document meets a filter';

-- definitions
COMMENT ON FUNCTION @extschema@.jflow_version IS 'version of the library and of its vector kernels';
COMMENT ON FUNCTION @extschema@.jflow_create IS 'create an empty flow of the current role';
COMMENT ON FUNCTION @extschema@.jflow_add IS 'append an executor to a flow';
COMMENT ON FUNCTION @extschema@.jflow_remove IS 'take an executor out of a flow';
COMMENT ON FUNCTION @extschema@.jflow_drop IS 'forget a flow; with drop_data also what its executors stored';
COMMENT ON FUNCTION @extschema@.jflow_load IS 'create the flow that a JSON document describes; returns its name';
COMMENT ON FUNCTION @extschema@.jflow_load_yaml IS 'create the flow that a YAML text describes; returns its name';
COMMENT ON FUNCTION @extschema@.jflow_yaml IS 'what a YAML text says, as JSON';
COMMENT ON FUNCTION @extschema@.jflow_save IS 'the JSON document that describes a flow';
COMMENT ON FUNCTION @extschema@.jflow_save_yaml IS 'the YAML text that describes a flow';
COMMENT ON FUNCTION @extschema@.jflow_plot IS 'picture of a flow as mermaid, dot or svg';
COMMENT ON FUNCTION @extschema@.jflow_grant IS 'let a role post to a flow, to all endpoints or to some';
COMMENT ON FUNCTION @extschema@.jflow_revoke IS 'take back what jflow_grant gave';
COMMENT ON FUNCTION @extschema@.jflow_adopt IS 'say which role owns what the catalog keeps under the name of a role that is gone';
COMMENT ON FUNCTION @extschema@.jflow_define IS 'define an executor class: which function serves which endpoint';
COMMENT ON FUNCTION @extschema@.jflow_undefine IS 'drop an executor class';
COMMENT ON FUNCTION @extschema@.jflow_context IS 'flow, executor, request and shard that the running function is called for';
COMMENT ON FUNCTION jflow.may_post IS 'whether the current role may post to a flow';
COMMENT ON FUNCTION jflow.may_see IS 'whether the current role may see that a flow exists';
COMMENT ON FUNCTION jflow.role_now IS 'present name of the role that the catalog keeps under this name';
COMMENT ON FUNCTION jflow.is_owner IS 'whether the current role has the rights of a flow''s owner';
COMMENT ON TABLE jflow.class IS 'executor classes';
COMMENT ON TABLE jflow.flow IS 'flows';
COMMENT ON TABLE jflow.executor IS 'executors of flows';
COMMENT ON TABLE jflow.flow_grant IS 'who may post to which endpoints';
COMMENT ON TABLE jflow.role IS 'which role a name in the catalog means in this database; not dumped';
COMMENT ON FUNCTION jflow.catalog_changed IS 'trigger that tells backends to read definitions again';
COMMENT ON FUNCTION jflow.may_use_class IS 'whether the current role may use the classes of an owner';
COMMENT ON VIEW @extschema@.jflow_classes IS 'executor classes that the current role may use';
COMMENT ON COLUMN @extschema@.jflow_classes.class IS 'name of the class';
COMMENT ON COLUMN @extschema@.jflow_classes.owner IS 'who defined it; NULL: built in';
COMMENT ON COLUMN @extschema@.jflow_classes.builtin IS 'whether it is built in';
COMMENT ON COLUMN @extschema@.jflow_classes.requests IS 'its functions by endpoint';
COMMENT ON COLUMN @extschema@.jflow_classes.polling IS 'polling by endpoint';
COMMENT ON VIEW @extschema@.jflow_flows IS 'flows that the current role may post to or monitor';
COMMENT ON COLUMN @extschema@.jflow_flows.flow IS 'name of the flow';
COMMENT ON COLUMN @extschema@.jflow_flows.owner IS 'its owner';
COMMENT ON COLUMN @extschema@.jflow_flows.description IS 'what its owner wrote of it';
COMMENT ON COLUMN @extschema@.jflow_flows.created IS 'when it was created';
COMMENT ON VIEW @extschema@.jflow_grants IS 'who may post to which endpoints';
COMMENT ON COLUMN @extschema@.jflow_grants.flow IS 'name of the flow';
COMMENT ON COLUMN @extschema@.jflow_grants.role IS 'who may post';
COMMENT ON COLUMN @extschema@.jflow_grants.endpoints IS 'to which endpoints; NULL: to all';
COMMENT ON VIEW @extschema@.jflow_executors IS 'executors of the flows in jflow_flows';
COMMENT ON COLUMN @extschema@.jflow_executors.flow IS 'name of the flow';
COMMENT ON COLUMN @extschema@.jflow_executors.name IS 'name of the executor';
COMMENT ON COLUMN @extschema@.jflow_executors."position" IS 'its place in the order of definition';
COMMENT ON COLUMN @extschema@.jflow_executors.uses IS 'its class or function';
COMMENT ON COLUMN @extschema@.jflow_executors.class_owner IS 'whose class that is, empty: built in; NULL: a function';
COMMENT ON COLUMN @extschema@.jflow_executors.uses_with IS 'its options; NULL for all but the owner';
COMMENT ON COLUMN @extschema@.jflow_executors.requests IS 'functions by endpoint, where they differ from the class''s';
COMMENT ON COLUMN @extschema@.jflow_executors.needs IS 'executors whose answers it gets; gateway is the flow''s input';
COMMENT ON COLUMN @extschema@.jflow_executors.replicas IS 'workers of each shard; 0: it runs in the caller''s session';
COMMENT ON COLUMN @extschema@.jflow_executors.shards IS 'number of shards';
COMMENT ON COLUMN @extschema@.jflow_executors.polling IS 'which shards a request goes to: any, all or hash, also by endpoint';
COMMENT ON COLUMN @extschema@.jflow_executors.workspace IS 'schema of its tables; NULL: the owner''s own';
COMMENT ON COLUMN @extschema@.jflow_executors."when" IS 'filter of the documents that it gets';
COMMENT ON COLUMN @extschema@.jflow_executors.uses_before IS 'function that splits a request for the shards';
COMMENT ON COLUMN @extschema@.jflow_executors.uses_after IS 'function that merges the answers of the shards';
COMMENT ON COLUMN @extschema@.jflow_executors.timeout IS 'limit of the time of a call';
COMMENT ON COLUMN @extschema@.jflow_executors.retries IS 'how often a call is tried again';
COMMENT ON COLUMN @extschema@.jflow_executors.floating IS 'whether a post does not wait for it';
COMMENT ON COLUMN @extschema@.jflow_executors.disable_reduce IS 'whether it gets the answers of several executors unmerged';
COMMENT ON COLUMN @extschema@.jflow_executors.batch IS 'how many documents of several posts one call may have, and how long it waits for them';

-- posts; the forms of jflow_post are commented below
COMMENT ON FUNCTION @extschema@.jflow_post_query IS 'post the rows of a query to an endpoint of a flow; returns counts';
COMMENT ON FUNCTION @extschema@.jflow_call IS 'post documents as JSON; returns those that come out as JSON';
COMMENT ON FUNCTION @extschema@.jflow_search IS 'post a text to /search; returns its matches';
COMMENT ON FUNCTION @extschema@.jflow_explain IS 'post documents given as JSON and tell what each call did, with the plans of searches for the flow''s owner';
COMMENT ON FUNCTION @extschema@.jflow_search_json IS 'post a text to /search, writing nothing; returns its matches as JSON';
COMMENT ON FUNCTION jflow.progress IS 'rows of jflow_progress';
COMMENT ON VIEW @extschema@.jflow_progress IS 'posts that are under way, of roles that the current one may see';
COMMENT ON COLUMN @extschema@.jflow_progress.post IS 'number of the post, for jflow_cancel';
COMMENT ON COLUMN @extschema@.jflow_progress.pid IS 'process that posts';
COMMENT ON COLUMN @extschema@.jflow_progress.flow IS 'name of the flow';
COMMENT ON COLUMN @extschema@.jflow_progress.endpoint IS 'endpoint that is posted to';
COMMENT ON COLUMN @extschema@.jflow_progress.steps_done IS 'calls of executors that have ended';
COMMENT ON COLUMN @extschema@.jflow_progress.steps_total IS 'calls of executors that there will be; NULL: not known yet';
COMMENT ON COLUMN @extschema@.jflow_progress.docs IS 'documents that have come out';
COMMENT ON COLUMN @extschema@.jflow_progress.failed IS 'requests that failed';
COMMENT ON COLUMN @extschema@.jflow_progress.docs_per_second IS 'documents a second since the start';
COMMENT ON COLUMN @extschema@.jflow_progress.started IS 'when it began';
COMMENT ON COLUMN @extschema@.jflow_progress.elapsed IS 'for how long it has run';

-- replicas
COMMENT ON FUNCTION @extschema@.jflow_start IS 'start the replicas of a flow at commit; returns how many';
COMMENT ON FUNCTION @extschema@.jflow_stop IS 'stop the replicas of a flow at commit';
COMMENT ON FUNCTION @extschema@.jflow_scale IS 'change the number of replicas or of shards of an executor, or its servers';
COMMENT ON FUNCTION @extschema@.jflow_restart IS 'replace the replicas of an executor one by one';
COMMENT ON FUNCTION @extschema@.jflow_wait IS 'wait until the replicas of a flow run; whether they do';
COMMENT ON FUNCTION @extschema@.jflow_cancel IS 'cancel a post';
COMMENT ON FUNCTION @extschema@.jflow_stat_reset IS 'forget what was counted of endpoints';
COMMENT ON FUNCTION @extschema@.jflow_config IS 'limits of this server and what they allow';
COMMENT ON TABLE jflow.remote_move IS 'how far documents have been moved to other servers';
COMMENT ON TABLE jflow.run_state IS 'which flows are started in this database; not dumped';
COMMENT ON FUNCTION jflow.runtime_changed IS 'trigger that tells the launcher to look again';
COMMENT ON FUNCTION jflow.is_started IS 'whether a flow is started in this database';
COMMENT ON FUNCTION jflow.start_obstacle IS 'why no replica can start in this database';
COMMENT ON FUNCTION jflow.pools IS 'replicas and queues by executor and shard';
COMMENT ON FUNCTION jflow.replicas IS 'rows of jflow_stat_replicas';
COMMENT ON FOREIGN DATA WRAPPER jflow_http IS 'services behind HTTP, for the executor class HttpExecutor';
COMMENT ON FUNCTION jflow.http_call IS 'executor function of HttpExecutor';
COMMENT ON FUNCTION jflow.remote_call IS 'executor function of RemoteFlow';
COMMENT ON FUNCTION jflow.remote_post IS 'what a RemoteFlow on another server calls to post to a flow here';
COMMENT ON FUNCTION jflow.http_validator IS 'checks options of servers and user mappings of jflow_http';
COMMENT ON FUNCTION jflow.split IS 'executor function of TextSplitter';
COMMENT ON FUNCTION jflow.counters IS 'rows of jflow_stat_counters';
COMMENT ON FUNCTION jflow.endpoints IS 'rows of jflow_stat_endpoints';
COMMENT ON FUNCTION jflow.metrics IS 'rows of jflow_metrics';
COMMENT ON FUNCTION jflow.requests IS 'rows of jflow_requests';
COMMENT ON FUNCTION jflow.memory IS 'row of jflow_memory';
COMMENT ON VIEW @extschema@.jflow_status IS 'how many replicas each executor wants and has';
COMMENT ON COLUMN @extschema@.jflow_status.flow IS 'name of the flow';
COMMENT ON COLUMN @extschema@.jflow_status.executor IS 'name of the executor';
COMMENT ON COLUMN @extschema@.jflow_status.started IS 'whether the flow is started';
COMMENT ON COLUMN @extschema@.jflow_status.wanted IS 'replicas that should run';
COMMENT ON COLUMN @extschema@.jflow_status.running IS 'replicas that run';
COMMENT ON COLUMN @extschema@.jflow_status.starting IS 'replicas that are starting';
COMMENT ON COLUMN @extschema@.jflow_status.failing IS 'shards whose replicas fail to start';
COMMENT ON COLUMN @extschema@.jflow_status.queued IS 'requests that wait for a replica';
COMMENT ON COLUMN @extschema@.jflow_status.last_error IS 'why replicas do not run; others than the owner see its SQLSTATE alone';
COMMENT ON COLUMN @extschema@.jflow_status.batch_docs IS 'mean number of documents of its calls, where requests are joined';
COMMENT ON VIEW @extschema@.jflow_stat_replicas IS 'each replica, what it does and has done';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.pid IS 'its process';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.flow IS 'name of the flow';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.executor IS 'name of the executor';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.shard IS 'its shard, from 0';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.replica IS 'its number among the replicas of the shard, from 0';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.state IS 'starting, idle or busy';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.since IS 'since when';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.endpoint IS 'endpoint that it serves now';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.post IS 'post that it serves now';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.request IS 'request of that post, from 1';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.requests IS 'requests that it has served';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.docs IS 'documents in them';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.errors IS 'requests that failed';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.busy_ms IS 'milliseconds that it has worked';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.last_error IS 'its last error; others than the owner see its SQLSTATE alone';
COMMENT ON COLUMN @extschema@.jflow_stat_replicas.started IS 'when it started';
COMMENT ON VIEW @extschema@.jflow_stat_counters IS 'what executors count of their own';
COMMENT ON COLUMN @extschema@.jflow_stat_counters.flow IS 'name of the flow';
COMMENT ON COLUMN @extschema@.jflow_stat_counters.executor IS 'name of the executor';
COMMENT ON COLUMN @extschema@.jflow_stat_counters.counter IS 'what is counted';
COMMENT ON COLUMN @extschema@.jflow_stat_counters.value IS 'how much or how often';
COMMENT ON VIEW @extschema@.jflow_stat_endpoints IS 'calls of executors by endpoint, and how long they took';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.flow IS 'name of the flow';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.executor IS 'name of the executor';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.endpoint IS 'endpoint';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.count IS 'calls';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.errors IS 'calls that failed';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.docs IS 'documents in them';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.mean_ms IS 'mean time of a call in milliseconds';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.p50_ms IS 'half of the calls were no longer than this';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.p95_ms IS '95 of 100 calls were no longer than this';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.p99_ms IS '99 of 100 calls were no longer than this';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.batches IS 'where requests are joined, how often the function was called';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.batches_failed IS 'calls of it that failed; each of several requests was run again by itself';
COMMENT ON COLUMN @extschema@.jflow_stat_endpoints.batch_docs IS 'mean number of documents of a call of it';
COMMENT ON VIEW @extschema@.jflow_requests IS 'requests that are in shared memory';
COMMENT ON COLUMN @extschema@.jflow_requests.slot IS 'its place there';
COMMENT ON COLUMN @extschema@.jflow_requests.state IS 'filling, queued, running, done';
COMMENT ON COLUMN @extschema@.jflow_requests.flow IS 'name of the flow';
COMMENT ON COLUMN @extschema@.jflow_requests.executor IS 'executor that it waits for or is in';
COMMENT ON COLUMN @extschema@.jflow_requests.request IS 'number of the request in its post, from 1';
COMMENT ON COLUMN @extschema@.jflow_requests.abandoned IS 'whether its post has ended without it';
COMMENT ON COLUMN @extschema@.jflow_requests.pid IS 'process that posts';
COMMENT ON COLUMN @extschema@.jflow_requests.role IS 'role that posts';
COMMENT ON COLUMN @extschema@.jflow_requests.post IS 'number of the post, for jflow_cancel';
COMMENT ON COLUMN @extschema@.jflow_requests.age IS 'how long ago it was posted';
COMMENT ON VIEW @extschema@.jflow_memory IS 'shared memory of requests and answers';
COMMENT ON COLUMN @extschema@.jflow_memory.used IS 'bytes in use';
COMMENT ON COLUMN @extschema@.jflow_memory."limit" IS 'bytes that there may be: jflow.memory_limit';
COMMENT ON COLUMN @extschema@.jflow_memory.peak IS 'the most bytes that were in use';
COMMENT ON COLUMN @extschema@.jflow_memory.waiting IS 'processes that wait for memory or a slot';
COMMENT ON COLUMN @extschema@.jflow_memory.requests IS 'request slots in use';
COMMENT ON COLUMN @extschema@.jflow_memory.max_requests IS 'request slots: jflow.max_requests';
COMMENT ON VIEW @extschema@.jflow_metrics IS 'all that is counted, as samples of OpenMetrics';
COMMENT ON COLUMN @extschema@.jflow_metrics.name IS 'name of the sample';
COMMENT ON COLUMN @extschema@.jflow_metrics.type IS 'counter, gauge or histogram';
COMMENT ON COLUMN @extschema@.jflow_metrics.help IS 'what the family of samples counts';
COMMENT ON COLUMN @extschema@.jflow_metrics.labels IS 'what it is counted of';
COMMENT ON COLUMN @extschema@.jflow_metrics.value IS 'its value';

-- indexes
COMMENT ON FUNCTION jflow.pq_handler IS 'handler of the access method pq';
COMMENT ON FUNCTION jflow.inverted_handler IS 'handler of the access method inverted';
COMMENT ON FUNCTION @extschema@.jflow_pq_info IS 'what a pq index consists of, and whether it is due to learn anew';
COMMENT ON FUNCTION @extschema@.jflow_pq_check IS 'check all of a pq index against its table; returns how many rows it has';
COMMENT ON FUNCTION @extschema@.jflow_pq_recall IS 'share of the nearest rows that searches of a pq index find';
COMMENT ON FUNCTION @extschema@.jflow_pq_calibrate IS 'measure the effort of searches of a pq index with queries of your own';
COMMENT ON FUNCTION @extschema@.jflow_pq_kernels IS 'self-test: whether all kernels of this machine agree';
COMMENT ON FUNCTION @extschema@.jflow_pq_kmeans IS 'self-test: whether clusters are found';
COMMENT ON FUNCTION @extschema@.jflow_train IS 'train a codebook that several pq indexes share';
COMMENT ON TABLE jflow.codebook IS 'shared codebooks';
COMMENT ON FUNCTION @extschema@.jflow_inverted_info IS 'what an inverted index consists of';
COMMENT ON FUNCTION @extschema@.jflow_inverted_check IS 'check all of an inverted index against its table; returns how many rows it has';

-- executors
COMMENT ON TABLE jflow.model IS 'fitted models of vectorizers';
COMMENT ON TABLE jflow.model_part IS 'what the requests of running fits have counted';
COMMENT ON FUNCTION @extschema@.jflow_fit IS 'fit a vectorizer to the texts of a query';
COMMENT ON FUNCTION @extschema@.jflow_terms IS 'terms of a fitted vectorizer';
COMMENT ON TABLE jflow.shard IS 'tables of the shards of stores';
COMMENT ON FUNCTION @extschema@.jflow_reindex IS 'make the indexes of a store anew, or others in their place';
COMMENT ON FUNCTION jflow.reshard_step IS 'move some rows of a store to their new shards; whether there are more';

-- operator classes with their support functions, and the functions that serve the endpoints of built-in classes
DO $$
DECLARE
	item pg_catalog.record;
BEGIN
	FOR item IN
		SELECT c.opcname, f.opfname, n.nspname, m.amname, t.typname AS type,
			(SELECT o.oprname FROM pg_catalog.pg_amop a JOIN pg_catalog.pg_operator o ON o.oid = a.amopopr
				WHERE a.amopfamily = c.opcfamily AND a.amoplefttype = c.opcintype AND a.amoppurpose = 'o' LIMIT 1) AS distance
		FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod
			JOIN pg_catalog.pg_namespace n ON n.oid = c.opcnamespace
			JOIN pg_catalog.pg_type t ON t.oid = c.opcintype
			JOIN pg_catalog.pg_opfamily f ON f.oid = c.opcfamily AND f.opfnamespace = c.opcnamespace
		WHERE m.amname IN ('pq', 'inverted')
	LOOP
		EXECUTE pg_catalog.format('COMMENT ON OPERATOR CLASS %I.%I USING %I IS %L', item.nspname, item.opcname, item.amname,
			CASE WHEN item.distance IS NULL THEN pg_catalog.format('filter column of type %s', item.type)
				ELSE pg_catalog.format('%s ordered by %s', item.type, item.distance) END);
		EXECUTE pg_catalog.format('COMMENT ON OPERATOR FAMILY %I.%I USING %I IS %L', item.nspname, item.opfname, item.amname,
			CASE WHEN item.distance IS NULL THEN 'filter columns' ELSE pg_catalog.format('vectors ordered by %s', item.distance) END);
	END LOOP;
	FOR item IN
		SELECT p.oid::pg_catalog.regprocedure AS function,
			CASE p.proargtypes[1]
				WHEN '@extschema@.jflow_doc[]'::pg_catalog.regtype THEN 'post documents to an endpoint of a flow; returns the documents that come out'
				WHEN 'pg_catalog.text[]'::pg_catalog.regtype THEN 'post texts to an endpoint of a flow, a document each'
				WHEN 'pg_catalog.jsonb'::pg_catalog.regtype THEN 'post documents as JSON, an object or an array of them, to an endpoint of a flow'
				WHEN 'pg_catalog.json'::pg_catalog.regtype THEN 'the same for drivers that bind JSON as json'
				WHEN 'pg_catalog.text'::pg_catalog.regtype THEN 'an error that says which type to send: one text may be anything'
			END AS what
		FROM pg_catalog.pg_proc p
		WHERE p.pronamespace = '@extschema@'::pg_catalog.regnamespace AND p.proname = 'jflow_post'
	LOOP
		EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s IS %L', item.function, item.what);
	END LOOP;
	FOR item IN
		SELECT p.oid::pg_catalog.regprocedure AS function, pg_catalog.min(c.opcname) AS class
		FROM pg_catalog.pg_amproc a JOIN pg_catalog.pg_opclass c ON c.opcfamily = a.amprocfamily
			JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod JOIN pg_catalog.pg_proc p ON p.oid = a.amproc
		WHERE m.amname IN ('pq', 'inverted') AND p.pronamespace = 'jflow'::pg_catalog.regnamespace
		GROUP BY p.oid
	LOOP
		EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s IS %L', item.function, 'support function of operator class ' || item.class);
	END LOOP;
	FOR item IN
		SELECT p.oid::pg_catalog.regprocedure AS function,
			pg_catalog.string_agg(DISTINCT pg_catalog.format('%s %s', c.class, e.key), ', ') AS serves
		FROM jflow.class c, pg_catalog.jsonb_each(c.requests) e, pg_catalog.pg_proc p
		WHERE p.pronamespace = 'jflow'::pg_catalog.regnamespace
			AND 'jflow.' || p.proname IN (e.value ->> 'function', e.value ->> 'finish')
		GROUP BY p.oid
	LOOP
		EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s IS %L', item.function, 'serves ' || item.serves);
	END LOOP;
END $$;

-- Tables in step.
COMMENT ON TABLE jflow.sync IS 'tables that are kept in step with flows';
COMMENT ON SEQUENCE jflow.sync_number IS 'numbers of syncs, of which none is given again';
COMMENT ON TABLE jflow.sync_flight IS 'keys that rounds of syncs are bringing to their stores';
COMMENT ON TABLE jflow.sync_row IS 'what the stores of synced tables are known to have';
COMMENT ON TABLE jflow.sync_state IS 'where syncs are at work';
COMMENT ON TABLE jflow.sync_progress IS 'how far syncs have compared rows, and their last errors';
COMMENT ON TABLE jflow.sync_queue IS 'keys of rows that have changed';
COMMENT ON FUNCTION jflow.sync_changed IS 'trigger of a synced table: a row has changed';
COMMENT ON FUNCTION jflow.sync_statement IS 'trigger of a synced table: it was truncated, or a statement has ended';
COMMENT ON FUNCTION jflow.sync_workers IS 'the workers of syncs that run';
COMMENT ON FUNCTION jflow.sync_here IS 'whether a sync is at work in this database';
COMMENT ON FUNCTION @extschema@.jflow_sync IS 'keep a flow''s store in step with a table';
COMMENT ON FUNCTION @extschema@.jflow_unsync IS 'forget a sync; the store keeps its documents';
COMMENT ON FUNCTION @extschema@.jflow_sync_pause IS 'let changes of a synced table wait';
COMMENT ON FUNCTION @extschema@.jflow_sync_resume IS 'let a sync go on, after a comparison where changes may have been missed';
COMMENT ON FUNCTION @extschema@.jflow_sync_retry IS 'try failed rows of a synced table again, now';
COMMENT ON FUNCTION @extschema@.jflow_sync_run IS 'wait until the store has all that was committed before';
COMMENT ON FUNCTION @extschema@.jflow_resync IS 'fill a sync''s store anew beside the one that is there, and exchange the two';
COMMENT ON VIEW @extschema@.jflow_sync_status IS 'tables that are kept in step with flows';
COMMENT ON COLUMN @extschema@.jflow_sync_status.name IS 'name of the sync';
COMMENT ON COLUMN @extschema@.jflow_sync_status.flow IS 'flow whose store is kept in step';
COMMENT ON COLUMN @extschema@.jflow_sync_status.source IS 'the table';
COMMENT ON COLUMN @extschema@.jflow_sync_status.mode IS 'live, manual or immediate';
COMMENT ON COLUMN @extschema@.jflow_sync_status.state IS 'comparing, following, stopped (no worker runs), paused or immediate';
COMMENT ON COLUMN @extschema@.jflow_sync_status.pending IS 'changes that are still to be posted';
COMMENT ON COLUMN @extschema@.jflow_sync_status.failed IS 'rows that have failed, those set aside too';
COMMENT ON COLUMN @extschema@.jflow_sync_status.oldest IS 'when the oldest change was made that is still to be posted';
COMMENT ON COLUMN @extschema@.jflow_sync_status.position IS 'key that the comparison has come to, for the flow''s owner';
COMMENT ON COLUMN @extschema@.jflow_sync_status.docs IS 'documents that the worker has posted since it began';
COMMENT ON COLUMN @extschema@.jflow_sync_status.rate IS 'documents a second while it was busy';
COMMENT ON COLUMN @extschema@.jflow_sync_status.pid IS 'process of the worker';
COMMENT ON COLUMN @extschema@.jflow_sync_status.last_error IS 'why it does not go on, or did not';
COMMENT ON COLUMN @extschema@.jflow_sync_status.last_error_at IS 'when that was';
COMMENT ON VIEW @extschema@.jflow_sync_errors IS 'rows of synced tables that have failed';
COMMENT ON COLUMN @extschema@.jflow_sync_errors.name IS 'name of the sync';
COMMENT ON COLUMN @extschema@.jflow_sync_errors.id IS 'key of the row, for the flow''s owner';
COMMENT ON COLUMN @extschema@.jflow_sync_errors.attempts IS 'how often it has failed';
COMMENT ON COLUMN @extschema@.jflow_sync_errors.sqlstate IS 'of the last error';
COMMENT ON COLUMN @extschema@.jflow_sync_errors.message IS 'the last error, for the flow''s owner';
COMMENT ON COLUMN @extschema@.jflow_sync_errors.at IS 'when it was';
COMMENT ON COLUMN @extschema@.jflow_sync_errors.next_try IS 'when the row is tried again; NULL: it was set aside';
