ALTER TABLE {table}
    DROP INDEX `{name}_user_idx`,
    DROP INDEX `{name}_active_idx`,
    DROP INDEX `{name}_username_idx`,
    DROP INDEX `{name}_created_idx`,
    DROP INDEX `{name}_deadline_idx`,
    DROP INDEX `{name}_ended_idx`;
