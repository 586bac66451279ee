// SinkMigration: the numbered changes of the sink's schema. Never edit one that was released: add another.

/// One change, applied in one transaction. `{schema}` and `{table}` are filled in; the checksum is over the template.
struct SinkMigration: Sendable {
    enum Scope: String, Sendable {
        /// Once per schema: tables that all pipelines share.
        case schema
        /// Once per predictions table.
        case table
    }

    var version: Int
    var scope: Scope
    var name: String
    var sql: String

    /// FNV-1a over the template, as 16 hexadecimal digits: recognises an edited migration, resists nobody.
    var checksum: String {
        let digits = String(Fingerprint.hash(sql.utf8), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    static let all: [SinkMigration] = [
        SinkMigration(version: 1, scope: .schema, name: "shared tables", sql: sharedTables),
        SinkMigration(version: 2, scope: .schema, name: "partition functions", sql: partitionFunctions),
        SinkMigration(version: 3, scope: .table, name: "predictions", sql: predictions),
    ]

    private static let sharedTables = """
        CREATE TABLE {schema}.sink_tables (
            table_name text PRIMARY KEY,
            partition_span text NOT NULL CHECK (partition_span IN ('day', 'week', 'month')),
            retention_ms bigint CHECK (retention_ms > 0)
        );
        CREATE TABLE {schema}.sink_partitions (
            table_name text NOT NULL REFERENCES {schema}.sink_tables,
            lower_ms bigint NOT NULL,
            upper_ms bigint NOT NULL CHECK (upper_ms > lower_ms),
            partition_name text NOT NULL,
            PRIMARY KEY (table_name, lower_ms)
        );
        CREATE TABLE {schema}.consumer_offsets (
            consumer_group text NOT NULL,
            topic text NOT NULL,
            partition integer NOT NULL,
            cluster_id text NOT NULL,
            next_offset bigint NOT NULL CHECK (next_offset >= 0),
            last_offset bigint,
            last_timestamp_ms bigint,
            last_hash bigint,
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (consumer_group, topic, partition)
        ) WITH (fillfactor = 50);
        CREATE TABLE {schema}.dead_letter_outbox (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            consumer_group text NOT NULL,
            topic text NOT NULL,
            partition integer NOT NULL,
            record_offset bigint NOT NULL,
            error_code text NOT NULL,
            error_message text NOT NULL,
            letter_topic text NOT NULL,
            letter_key bytea,
            letter_value bytea,
            letter_headers bytea NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX dead_letter_outbox_order
            ON {schema}.dead_letter_outbox (consumer_group, topic, partition, id);
        CREATE TABLE {schema}.duplicates (
            input_partition integer NOT NULL,
            input_offset bigint NOT NULL,
            event_id uuid NOT NULL,
            sink_table text NOT NULL,
            first_partition integer NOT NULL,
            first_offset bigint NOT NULL,
            recorded_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (input_partition, input_offset, event_id, sink_table)
        );
        """

    /// The runtime role owns nothing; what it may change in the catalogue it does through these functions, which check
    /// their arguments, run as the owner and resolve every name in pg_catalog or by full qualification.
    private static let partitionFunctions = """
        CREATE FUNCTION {schema}.uuid_floor(at_ms bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
            SET search_path = pg_catalog, pg_temp
            AS $$ SELECT (lpad(to_hex(at_ms), 12, '0') || repeat('0', 20))::uuid $$;
        CREATE FUNCTION {schema}.uuid_milliseconds(id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE
            SET search_path = pg_catalog, pg_temp
            AS $$ SELECT ('x0000' || left(replace(id::text, '-', ''), 12))::bit(64)::bigint $$;
        CREATE FUNCTION {schema}.make_partition(target text, at_ms bigint, OUT lower_bound bigint, OUT upper_bound bigint)
            LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' SET timezone = 'UTC'
            AS $$
        DECLARE
            span text;
            lower_time timestamptz;
            name text;
        BEGIN
            SELECT partition_span INTO span FROM {schema}.sink_tables WHERE table_name = target;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'no sink table %', target USING ERRCODE = '42501';
            END IF;
            IF at_ms < 0 OR at_ms > extract(epoch FROM now()) * 1000 + 800 * 86400000.0 THEN
                RAISE EXCEPTION 'no partition for times before 1970 or more than 800 days ahead' USING ERRCODE = '22008';
            END IF;
            PERFORM pg_advisory_xact_lock(hashtextextended('penstock.partitions.' || {schema:text} || '.' || target, 0));
            SELECT lower_ms, upper_ms INTO lower_bound, upper_bound FROM {schema}.sink_partitions
                WHERE table_name = target AND lower_ms <= at_ms AND upper_ms > at_ms;
            IF FOUND THEN
                RETURN;
            END IF;
            IF (SELECT count(*) FROM {schema}.sink_partitions WHERE table_name = target) >= 4000 THEN
                RAISE EXCEPTION '% has 4000 partitions: use a longer span or a retention', target USING ERRCODE = '54000';
            END IF;
            lower_time := date_trunc(span, to_timestamp(at_ms / 1000.0));
            lower_bound := extract(epoch FROM lower_time) * 1000;
            upper_bound := extract(epoch FROM lower_time + ('1 ' || span)::interval) * 1000;
            -- The span may have changed since: fit between the neighbours that are there.
            lower_bound := greatest(lower_bound, 0, (SELECT max(upper_ms) FROM {schema}.sink_partitions
                WHERE table_name = target AND upper_ms <= at_ms));
            upper_bound := least(upper_bound, (SELECT min(lower_ms) FROM {schema}.sink_partitions
                WHERE table_name = target AND lower_ms > at_ms));
            name := target || '_p' || to_char(to_timestamp(lower_bound / 1000.0), 'YYYYMMDD');
            -- Attaching locks the parent less than CREATE … PARTITION OF does: readers and writers go on.
            EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING ALL)', {schema:text}, name, {schema:text}, target);
            EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)', {schema:text}, target,
                {schema:text}, name, {schema}.uuid_floor(lower_bound), {schema}.uuid_floor(upper_bound));
            INSERT INTO {schema}.sink_partitions VALUES (target, lower_bound, upper_bound, name);
        END $$;
        CREATE FUNCTION {schema}.drop_expired_partitions(target text) RETURNS integer
            LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' SET timezone = 'UTC'
            AS $$
        DECLARE
            retention bigint;
            newest uuid;
            horizon bigint;
            expired record;
            dropped integer := 0;
        BEGIN
            SELECT retention_ms INTO retention FROM {schema}.sink_tables WHERE table_name = target;
            IF retention IS NULL THEN
                RETURN 0;
            END IF;
            EXECUTE format('SELECT event_id FROM %I.%I ORDER BY event_id DESC LIMIT 1', {schema:text}, target) INTO newest;
            IF newest IS NULL THEN
                RETURN 0;
            END IF;
            -- Event time decides, so that a replay of old data keeps it; a time in the future must not expire the present.
            horizon := least({schema}.uuid_milliseconds(newest), (extract(epoch FROM now()) * 1000)::bigint) - retention;
            PERFORM pg_advisory_xact_lock(hashtextextended('penstock.partitions.' || {schema:text} || '.' || target, 0));
            FOR expired IN SELECT * FROM {schema}.sink_partitions
                WHERE table_name = target AND upper_ms <= horizon ORDER BY lower_ms LIMIT 32
            LOOP
                EXECUTE format('DROP TABLE %I.%I', {schema:text}, expired.partition_name);
                DELETE FROM {schema}.duplicates WHERE sink_table = target
                    AND event_id >= {schema}.uuid_floor(expired.lower_ms)
                    AND event_id < {schema}.uuid_floor(expired.upper_ms);
                DELETE FROM {schema}.sink_partitions WHERE table_name = target AND lower_ms = expired.lower_ms;
                dropped := dropped + 1;
            END LOOP;
            RETURN dropped;
        END $$;
        REVOKE ALL ON FUNCTION {schema}.make_partition(text, bigint), {schema}.drop_expired_partitions(text),
            {schema}.uuid_floor(bigint), {schema}.uuid_milliseconds(uuid) FROM PUBLIC;
        """

    private static let predictions = """
        CREATE TABLE {schema}.{table} (
            event_id uuid NOT NULL,
            source text,
            id text,
            entity text,
            event_time timestamptz NOT NULL,
            published_at timestamptz NOT NULL,
            ingested_at timestamptz NOT NULL,
            transformed_at timestamptz NOT NULL,
            predicted_at timestamptz NOT NULL,
            model text NOT NULL,
            model_version text NOT NULL,
            contract text NOT NULL,
            score real NOT NULL,
            label integer NOT NULL,
            imputed integer NOT NULL,
            outliers integer NOT NULL,
            payload_hash text NOT NULL,
            input_partition integer NOT NULL,
            input_offset bigint NOT NULL,
            traceparent text,
            stored_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (event_id)
        ) PARTITION BY RANGE (event_id);
        """

    /// Repeated at each migration: rights of roles that may have been named anew.
    static let grants = """
        GRANT USAGE ON SCHEMA {schema} TO {runtime}, {reader};
        GRANT SELECT, INSERT ON {schema}.{table} TO {runtime};
        GRANT SELECT, INSERT, UPDATE ON {schema}.consumer_offsets TO {runtime};
        GRANT SELECT, INSERT, DELETE ON {schema}.dead_letter_outbox TO {runtime};
        GRANT SELECT, INSERT ON {schema}.duplicates TO {runtime};
        GRANT SELECT ON {schema}.schema_migrations, {schema}.sink_tables, {schema}.sink_partitions TO {runtime};
        GRANT EXECUTE ON FUNCTION {schema}.make_partition(text, bigint), {schema}.drop_expired_partitions(text)
            TO {runtime};
        GRANT SELECT ON {schema}.{table}, {schema}.duplicates TO {reader};
        """

    /// The columns of the staging table and of COPY, in order: those of predictions without `stored_at`.
    static let stagingColumns =
        "event_id, source, id, entity, event_time, published_at, ingested_at, transformed_at, predicted_at, model,"
        + " model_version, contract, score, label, imputed, outliers, payload_hash, input_partition, input_offset,"
        + " traceparent"
}
