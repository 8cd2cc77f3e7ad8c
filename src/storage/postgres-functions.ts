/**
 * The functions of a `PostgresStore` in its database: a group of batches, or many queries, are one call and one round
 * trip, and nothing is kept in a session, so any connection of a pooling proxy will do.
 */
import { timelineFactor } from "./postgres-version.ts";

/**
 * A plan is kept with its connection, and one made while the table was small would be a disaster when it is large. So
 * tables are reached by their index only, in its order, and there is no join in which a row of the table is not looked
 * up by key. Compiling a plan (`jit`) takes longer than all else here.
 */
const planSettings = "SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan SET jit = off";

/** The timeline that the server writes. Fails on a standby, whose answers may be old. */
export const timelineExpression = "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint";

/**
 * Applies a group of batches in order, as one transaction; postgres-group.ts encodes them.
 *
 * 1. Every key of the group is locked in the order of keys, so that no two groups wait for each other. An absent
 *    key gets a row to lock; at the end that row has a value or is gone.
 * 2. A version is drawn once all locks are held. Who writes a key later draws later, so its version is greater.
 * 3. Checks and writes run on arrays; what they come to is written at the end, each key once.
 * 4. A group that deletes ranges runs alone, as it cannot lock keys that are not there yet. All others share a lock
 *    of `lane`, which is not that of `entry`, so that nobody waits for a vacuum.
 */
export const commitFunction = (schema: string): string => `
    CREATE FUNCTION ${schema}.commit(
      p_lane uuid, p_group bigint, p_deletes_ranges boolean, p_keys bytea[], p_rests bytea[],
      p_program bigint[], p_values bytea[], p_bounds bytea[], p_bound_rests bytea[]
    ) RETURNS bigint[] LANGUAGE plpgsql VOLATILE
    ${planSettings} SET lock_timeout = '5s' AS $$
    DECLARE
      key_count int := cardinality(p_keys);
      program_end int := cardinality(p_program);
      value_count int := cardinality(p_values);
      timeline bigint := ${timelineExpression};
      versions bigint[];
      sources int[] := array_fill(-1, ARRAY[key_count]);
      sums bigint[] := array_fill(NULL::bigint, ARRAY[key_count]);
      outcomes bigint[] := '{}';
      ranges int[] := '{}';
      absent int[] := '{}';
      changed int[] := '{}';
      counters int[] := '{}';
      at int := 1;
      range_number int := 0;
      checks int;
      writes int;
      batch_ranges int;
      failed int;
      next_version bigint;
      place int;
      argument bigint;
    BEGIN
      IF p_deletes_ranges THEN
        LOCK TABLE ${schema}.lane IN SHARE ROW EXCLUSIVE MODE;
      ELSE
        LOCK TABLE ${schema}.lane IN ROW EXCLUSIVE MODE;
      END IF;
      IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
      END IF;

      INSERT INTO ${schema}.entry (version, key, rest, value)
        SELECT 0, k, coalesce(r, ''), '' FROM unnest(p_keys, p_rests) AS u(k, r)
        ON CONFLICT (key, rest_hash) DO UPDATE SET version = 0 WHERE false;
      versions := ARRAY(
        SELECT (SELECT e.version FROM ${schema}.entry e WHERE e.key = u.k AND e.rest = coalesce(u.r, ''))
        FROM unnest(p_keys, p_rests) AS u(k, r));

      WHILE at <= program_end LOOP
        checks := p_program[at];
        writes := p_program[at + 1];
        batch_ranges := p_program[at + 2];
        at := at + 3;
        failed := NULL;
        FOR i IN 0 .. checks - 1 LOOP
          IF versions[p_program[at + 2 * i]] <> p_program[at + 2 * i + 1] THEN
            failed := i;
            EXIT;
          END IF;
        END LOOP;
        at := at + 2 * checks;
        IF failed IS NOT NULL THEN
          at := at + 3 * writes;
          range_number := range_number + batch_ranges;
          outcomes := outcomes || (-1 - failed)::bigint;
          CONTINUE;
        END IF;
        next_version := timeline * ${timelineFactor} + nextval('${schema}.version');
        FOR i IN 1 .. writes LOOP
          place := p_program[at + 1];
          argument := p_program[at + 2];
          CASE p_program[at]
            WHEN 0 THEN -- set
              sources[place] := argument;
              versions[place] := next_version;
            WHEN 1 THEN -- add
              IF sources[place] < 0 THEN
                sums[place] := ${schema}.wrap(coalesce(sums[place], 0)::numeric + argument);
              ELSE
                value_count := value_count + 1;
                p_values[value_count] := ${schema}.add_to_counter(
                  CASE WHEN sources[place] = 0 THEN '' ELSE p_values[sources[place]] END, argument);
                sources[place] := value_count;
              END IF;
              versions[place] := next_version;
            WHEN 2 THEN -- delete
              sources[place] := 0;
              versions[place] := 0;
            ELSE -- delete a range, and of the keys of the group those that are in it
              range_number := range_number + 1;
              ranges := ranges || range_number;
              FOR inside IN place .. argument LOOP
                sources[inside] := 0;
                versions[inside] := 0;
              END LOOP;
          END CASE;
          at := at + 3;
        END LOOP;
        outcomes := outcomes || next_version;
      END LOOP;

      FOR i IN 1 .. key_count LOOP
        IF versions[i] = 0 THEN
          absent := absent || i;
        ELSIF sources[i] > 0 THEN
          changed := changed || i;
        ELSIF sums[i] IS NOT NULL THEN
          counters := counters || i;
        END IF;
      END LOOP;
      FOREACH range_number IN ARRAY ranges LOOP
        DELETE FROM ${schema}.entry e WHERE
          (e.key, e.rest) >= (p_bounds[2 * range_number - 1], coalesce(p_bound_rests[2 * range_number - 1], '')) AND
          (e.key, e.rest) < (p_bounds[2 * range_number], coalesce(p_bound_rests[2 * range_number], ''));
      END LOOP;
      IF absent <> '{}' THEN
        -- By their places in the table, which stay while they are locked.
        DELETE FROM ${schema}.entry WHERE ctid = ANY (ARRAY(
          SELECT (SELECT e.ctid FROM ${schema}.entry e WHERE e.key = p_keys[i] AND e.rest = coalesce(p_rests[i], ''))
          FROM unnest(absent) AS i));
      END IF;
      IF changed <> '{}' THEN
        INSERT INTO ${schema}.entry (version, key, rest, value)
          SELECT versions[i], p_keys[i], coalesce(p_rests[i], ''), p_values[sources[i]] FROM unnest(changed) AS i
          ON CONFLICT (key, rest_hash) DO UPDATE SET version = excluded.version, value = excluded.value;
      END IF;
      FOREACH place IN ARRAY counters LOOP
        UPDATE ${schema}.entry e SET version = versions[place], value = ${schema}.add_to_counter(e.value, sums[place])
          WHERE e.key = p_keys[place] AND e.rest = coalesce(p_rests[place], '');
      END LOOP;

      INSERT INTO ${schema}.lane (id, last_group, outcomes) VALUES (p_lane, p_group, outcomes)
        ON CONFLICT (id) DO UPDATE SET last_group = excluded.last_group, outcomes = excluded.outcomes, used = excluded.used
        WHERE lane.last_group < excluded.last_group;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'Group % of lane % was given up', p_group, p_lane USING ERRCODE = 'KL001';
      END IF;
      RETURN timeline || outcomes;
    END $$;`;

/** The outcomes of a group, if it was applied. If not, it never will be: its number is taken. */
export const settleFunction = (schema: string): string => `
    CREATE FUNCTION ${schema}.settle(p_lane uuid, p_group bigint) RETURNS bigint[] LANGUAGE plpgsql VOLATILE
    SET lock_timeout = '5s' AS $$
    BEGIN
      INSERT INTO ${schema}.lane (id, last_group, outcomes) VALUES (p_lane, p_group, NULL)
        ON CONFLICT (id) DO UPDATE SET last_group = excluded.last_group, outcomes = NULL, used = excluded.used
        WHERE lane.last_group < excluded.last_group;
      RETURN ${timelineExpression} || (SELECT outcomes FROM ${schema}.lane WHERE id = p_lane AND last_group = p_group);
    END $$;`;

/**
 * Rows of all queries, from the one snapshot of the statement that calls it: first the timeline as query 0, then
 * the keys, then the ranges. A negative limit counts from the end.
 */
export const readFunction = (schema: string): string => {
  const range = (order: string): string => `
          RETURN QUERY SELECT key_count + i, e.key, e.rest, e.value, e.version FROM ${schema}.entry e WHERE
            (e.key, e.rest) >= (p_bounds[2 * i - 1], coalesce(p_bound_rests[2 * i - 1], '')) AND
            (e.key, e.rest) < (p_bounds[2 * i], coalesce(p_bound_rests[2 * i], ''))
            ORDER BY e.key ${order}, e.rest ${order} LIMIT abs(p_limits[i]);`;
  return `
    CREATE FUNCTION ${schema}.read(p_keys bytea[], p_rests bytea[], p_bounds bytea[], p_bound_rests bytea[], p_limits bigint[])
    RETURNS TABLE (query int, key bytea, rest bytea, value bytea, version bigint) LANGUAGE plpgsql STABLE
    ${planSettings} SET enable_sort = off AS $$
    DECLARE
      key_count int := cardinality(p_keys);
    BEGIN
      RETURN QUERY SELECT 0, NULL::bytea, NULL::bytea, NULL::bytea, ${timelineExpression};
      IF key_count > 0 THEN
        RETURN QUERY SELECT i, NULL::bytea, NULL::bytea, e.value, e.version
          FROM generate_series(1, key_count) AS i CROSS JOIN LATERAL (
            SELECT f.value, f.version FROM ${schema}.entry f WHERE f.key = p_keys[i] AND f.rest = coalesce(p_rests[i], '') LIMIT 1) AS e;
      END IF;
      FOR i IN 1 .. cardinality(p_limits) LOOP
        IF p_limits[i] > 0 THEN${range("ASC")}
        ELSE${range("DESC")}
        END IF;
      END LOOP;
    END $$;`;
};
