ALTER TABLE {table}
    DROP INDEX `{name}_user`,
    DROP INDEX `{name}_active`,
    DROP INDEX `{name}_username`,
    DROP INDEX `{name}_created`,
    DROP INDEX `{name}_deadline`,
    DROP INDEX `{name}_ended`;
