-- name: by_index
-- For the rest of the transaction.  Row-level security makes the planner expect far fewer rows than there are,
-- and what changes all the time has no statistics worth the name: rather than walk an index in order and stop,
-- it would read all that waits, and sort it.  A plan made while a table was empty must not be kept either.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('plan_cache_mode', 'force_custom_plan', true);
