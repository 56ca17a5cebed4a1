DROP INDEX {schema}"{name}_user";
DROP INDEX {schema}"{name}_active";
DROP INDEX {schema}"{name}_username";
DROP INDEX {schema}"{name}_created";
DROP INDEX {schema}"{name}_deadline";
DROP INDEX {schema}"{name}_ended";
