DROP INDEX IF EXISTS {schema}"{name}_user_idx";
DROP INDEX IF EXISTS {schema}"{name}_active_idx";
DROP INDEX IF EXISTS {schema}"{name}_username_idx";
DROP INDEX IF EXISTS {schema}"{name}_created_idx";
DROP INDEX IF EXISTS {schema}"{name}_deadline_idx";
DROP INDEX IF EXISTS {schema}"{name}_ended_idx";
